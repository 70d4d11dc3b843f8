"""The inference engine: `python -m worker.inference` serves base models and adapters over HTTP.

Path of a request: server → registry (resolves the model name) → generation (renders the prompt) →
engine_thread → engine (continuous batching) → scheduler, decoder (llama or transformers),
sampling → generation → choice_text (detokenizes) → chat (OpenAI's response) → server.
"""
