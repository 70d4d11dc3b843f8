"""Conversion of pydantic's validation errors to OpenAI's error sentences."""

from collections.abc import Iterator, Sequence
from typing import Any

from app.errors import InvalidRequest
from app.wire.refusals import REFUSAL

# Longer inputs are not echoed in a message: they may be training text.
MAX_ECHOED_INPUT_LENGTH = 40


# Messages for pydantic error types whose own wording means little to a client's author.
PLAIN_MESSAGES = {
    "int_parsing_size": "expected an integer of 64 bits at most",
    "model_type": "expected an object",
    "model_attributes_type": "expected an object",
    "dict_type": "expected an object",
    "list_type": "expected an array",
    "string_type": "expected a string",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "int_type": "expected an integer",
    "int_parsing": "expected an integer",
    "int_from_float": "expected an integer",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a number that is not infinite",
    "too_short": "expected at least {min_length} item(s)",
    "too_long": "expected at most {max_length} item(s)",
    "string_too_short": "expected at least {min_length} character(s)",
    "string_too_long": "expected at most {max_length} character(s)",
}


def to_invalid_request(errors: Sequence[Any], *, body: object = None) -> InvalidRequest:
    """Describe the first error of `ValidationError.errors()`, whose `loc` lies inside the body."""
    error = errors[0]
    if error["type"] == REFUSAL:
        context = error["ctx"]
        return InvalidRequest(context["sentence"], param=context["param"], code=context["code"])
    kind, param = error["type"], _param_path(error["loc"], body)
    if kind == "json_invalid":
        reason = error["ctx"]["error"]
        return InvalidRequest(f"The request body cannot be read as JSON: {reason}.")
    if param is None and (kind == "missing" or PLAIN_MESSAGES.get(kind) == "expected an object"):
        return InvalidRequest(
            "The request body must be a JSON object, sent with Content-Type: application/json."
        )
    if kind.startswith("union_tag"):
        return _discriminator_error(error, param)
    if kind == "missing":
        return _missing_parameter(param)
    if kind == "extra_forbidden":
        message = f"Unknown parameter: '{param}'."
        return InvalidRequest(message, param=param, code="unknown_parameter")
    if kind in PLAIN_MESSAGES:
        reason = PLAIN_MESSAGES[kind].format_map(error.get("ctx", {}))
    else:
        reason = error["msg"][0].lower() + error["msg"][1:]
    return _invalid_value(param, reason, error.get("input"))


def _discriminator_error(error: Any, param: str | None) -> InvalidRequest:
    """Describe a missing or unknown value of the field that selects a union's member."""
    field = error["ctx"]["discriminator"].strip("'")
    path = field if param is None else f"{param}.{field}"
    if error["type"] == "union_tag_not_found":
        return _missing_parameter(path)
    expected = error["ctx"]["expected_tags"]
    return _invalid_value(path, f"expected one of {expected}", error["ctx"]["tag"])


def _missing_parameter(param: str | None) -> InvalidRequest:
    message = f"Missing required parameter: '{param}'."
    return InvalidRequest(message, param=param, code="missing_required_parameter")


def _invalid_value(param: str | None, reason: str, value: object) -> InvalidRequest:
    subject = "request" if param is None else f"'{param}'"
    message = f"Invalid {subject}: {reason}{_quote_input(value)}."
    return InvalidRequest(message, param=param, code="invalid_value")


def _param_path(loc: Sequence[str | int], body: object) -> str | None:
    """`("messages", 0, "role")` as `messages[0].role`, OpenAI's notation."""
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in _path_in_body(loc, body)
    )
    return path.removeprefix(".") or None


def _path_in_body(loc: Sequence[str | int], body: object) -> Iterator[str | int]:
    """Drop the parts of a `loc` that pydantic adds and the body does not have."""
    value: Any = body
    # "[key]" follows a key that is itself invalid.
    parts = [part for part in loc if part != "[key]"]
    for place, part in enumerate(parts):
        if _is_tag(part, value, is_last=place == len(parts) - 1):
            continue
        yield part
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]


def _is_tag(part: str | int, value: Any, *, is_last: bool) -> bool:
    """Check whether a part names a member of a union: the body has no such key."""
    if isinstance(value, dict):
        return not is_last and part not in value and isinstance(part, str)
    # Of a body that is not known, all parts are kept.
    return isinstance(part, str) and value is not None


def _quote_input(value: object) -> str:
    if value is None or isinstance(value, list | dict | bytes):
        return ""
    text = repr(value)
    return f", but got {text}" if len(text) <= MAX_ECHOED_INPUT_LENGTH else ""
