"""Import of evals: exports of OpenAI's evals and configs of promptfoo become evals and files."""
