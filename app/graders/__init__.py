"""Graders: compute a reward for a model's output, compatible with OpenAI's graders."""
