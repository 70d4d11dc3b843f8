"""Message content: text or text parts, and the control tokens that no text may contain."""

from typing import Any

from app.formats.errors import (
    InvalidExample,
    escape_for_message,
    json_type_name,
    reject_unknown_keys,
)

# Control tokens of OpenAI's models, which OpenAI rejects. Those of other models are plain text.
FORBIDDEN_TOKENS = (
    "<|endoftext|>",
    "<|endofprompt|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
)
# Their common prefix: one search clears a text of them all.
FORBIDDEN_PREFIX = "<|"


def reject_control_tokens(text: str) -> None:
    """Raise InvalidExample if the text contains a control token."""
    if FORBIDDEN_PREFIX not in text:
        return
    for token in FORBIDDEN_TOKENS:
        if token in text:
            raise InvalidExample(
                f" message contains an invalid token: {token}", "Remove it from the text."
            )


def check_content(content: Any, number: int) -> None:
    """Raise InvalidExample unless `content`, of message `number`, is a text or a list of parts."""
    if isinstance(content, str):
        reject_control_tokens(content)
        return
    if not isinstance(content, list):
        raise InvalidExample(
            f": content is {json_type_name(content)}", "Write a string.", message_number=number
        )
    if not content:
        raise InvalidExample(": content is an empty list", "Write a string.", message_number=number)
    for part in content:
        _check_part(part, number)


def join_text(content: str | list[dict[str, str]] | None) -> str | None:
    """The text of a checked content."""
    if isinstance(content, list):
        return "".join(part[part["type"]] for part in content)
    return content


def _check_part(part: Any, number: int) -> None:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise InvalidExample(
            ": a part of the content has no type",
            'Write {"type": "text", "text": "…"}.',
            message_number=number,
        )
    name = part["type"]
    if name == "image_url":
        raise InvalidExample(
            ": images are not supported by text models",
            "Remove the image_url parts.",
            message_number=number,
        )
    if name not in ("text", "refusal"):
        raise InvalidExample(
            f': a part of the content has the type "{escape_for_message(name)}"',
            'Only {"type": "text", "text": "…"} is supported.',
            message_number=number,
        )
    reject_unknown_keys(part, ("type", name), f"A {name} part in message {number}")
    text = part.get(name)
    if not isinstance(text, str):
        raise InvalidExample(
            f": the text of a part is {json_type_name(text)}",
            "Write a string.",
            message_number=number,
        )
    reject_control_tokens(text)
