"""Measurement of a fine-tuned model on its job's test file, by the engine that will serve it."""
