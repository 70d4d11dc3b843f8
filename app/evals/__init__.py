"""Evals: testing criteria over a data source, compatible with OpenAI's API of the same name."""
