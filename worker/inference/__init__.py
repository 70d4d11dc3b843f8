"""The inference engine: `python -m worker.inference` serves base models and adapters over HTTP.

The way of a request: server → models (what the name stands for) → generation (renders, waits) →
thread → engine → scheduler, decoder (llama or generic), sampling → generation → choice (text) →
chat (OpenAI's shape) → server.
"""
