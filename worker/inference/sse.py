"""Server-sent events, as OpenAI writes them."""

DONE = b"data: [DONE]\n\n"


def format_event(data: str) -> bytes:
    return b"data: " + data.encode() + b"\n\n"
