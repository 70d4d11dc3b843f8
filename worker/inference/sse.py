"""Server-sent events in OpenAI's format."""

DONE = b"data: [DONE]\n\n"


def format_event(data: str) -> bytes:
    return b"data: " + data.encode() + b"\n\n"
