"""The text in messages: what content may be, and which characters are never text."""

from typing import Any

from app.formats.errors import (
    InvalidExample,
    escape_for_message,
    json_type_name,
    reject_unknown_keys,
)

# Control tokens of OpenAI's models, which refuses them; other models' are rendered as plain text.
FORBIDDEN_TOKENS = (
    "<|endoftext|>",
    "<|endofprompt|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
)
# What each begins with: one search clears a text of them all.
FORBIDDEN_PREFIX = "<|"


def reject_control_tokens(text: str) -> None:
    """Raises Flaw if a control token is written in the text."""
    if FORBIDDEN_PREFIX not in text:
        return
    for token in FORBIDDEN_TOKENS:
        if token in text:
            raise InvalidExample(
                f" message contains an invalid token: {token}", "Remove it from the text."
            )


def check_content(content: Any, message: int) -> None:
    """Raises Flaw unless `content` is text or a list of text parts."""
    if isinstance(content, str):
        reject_control_tokens(content)
        return
    if not isinstance(content, list):
        raise InvalidExample(
            f": content is {json_type_name(content)}", "Write a string.", message_number=message
        )
    if not content:
        raise InvalidExample(
            ": content is an empty list", "Write a string.", message_number=message
        )
    for part in content:
        _check_part(part, message)


def join_text(content: str | list[dict[str, str]] | None) -> str | None:
    """The text of a checked content."""
    if isinstance(content, list):
        return "".join(part[part["type"]] for part in content)
    return content


def _check_part(part: Any, message: int) -> None:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise InvalidExample(
            ": a part of the content has no type",
            'Write {"type": "text", "text": "…"}.',
            message_number=message,
        )
    name = part["type"]
    if name == "image_url":
        raise InvalidExample(
            ": images are not supported by text models",
            "Remove the image_url parts.",
            message_number=message,
        )
    if name not in ("text", "refusal"):
        raise InvalidExample(
            f': a part of the content has the type "{escape_for_message(name)}"',
            'Only {"type": "text", "text": "…"} is supported.',
            message_number=message,
        )
    reject_unknown_keys(part, ("type", name), f"A {name} part in message {message}")
    text = part.get(name)
    if not isinstance(text, str):
        raise InvalidExample(
            f": the text of a part is {json_type_name(text)}",
            "Write a string.",
            message_number=message,
        )
    reject_control_tokens(text)
