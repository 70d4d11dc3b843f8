"""Batches: OpenAI's /v1/batches, files of requests to models that are answered within a day."""
