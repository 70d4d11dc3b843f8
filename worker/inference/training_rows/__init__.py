"""Rows of training files, rendered by engines for the API, since they have the tokenizers."""
