"""The text in messages: what content may be, and which characters are never text."""

from typing import Any

from app.formats.errors import Flaw, kind, refuse_extra, shown

# Control tokens of OpenAI's models, which refuses them; other models' are rendered as plain text.
FORBIDDEN = (
    "<|endoftext|>",
    "<|endofprompt|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
)
# What each begins with: one search clears a text of them all.
FORBIDDEN_START = "<|"


def check_text(text: str) -> None:
    """Raises Flaw if a control token is written in the text."""
    if FORBIDDEN_START not in text:
        return
    for token in FORBIDDEN:
        if token in text:
            raise Flaw(f" message contains an invalid token: {token}", "Remove it from the text.")


def check_content(content: Any, message: int) -> None:
    """Raises Flaw unless `content` is text or a list of text parts."""
    if isinstance(content, str):
        check_text(content)
        return
    if not isinstance(content, list):
        raise Flaw(f": content is {kind(content)}", "Write a string.", message=message)
    if not content:
        raise Flaw(": content is an empty list", "Write a string.", message=message)
    for part in content:
        _check_part(part, message)


def joined(content: str | list[dict[str, str]] | None) -> str | None:
    """The text of a checked content."""
    if isinstance(content, list):
        return "".join(part[part["type"]] for part in content)
    return content


def _check_part(part: Any, message: int) -> None:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise Flaw(
            ": a part of the content has no type",
            'Write {"type": "text", "text": "…"}.',
            message=message,
        )
    name = part["type"]
    if name == "image_url":
        raise Flaw(
            ": images are not supported by text models",
            "Remove the image_url parts.",
            message=message,
        )
    if name not in ("text", "refusal"):
        raise Flaw(
            f': a part of the content has the type "{shown(name)}"',
            'Only {"type": "text", "text": "…"} is supported.',
            message=message,
        )
    refuse_extra(part, ("type", name), f"A {name} part in message {message}")
    text = part.get(name)
    if not isinstance(text, str):
        raise Flaw(f": the text of a part is {kind(text)}", "Write a string.", message=message)
    check_text(text)
