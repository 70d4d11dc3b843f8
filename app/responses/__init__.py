"""OpenAI's Responses API: each response is translated into a chat request to the model's engine."""
