"""What pydantic finds wrong with a request, as the error that OpenAI would answer with."""

from collections.abc import Iterator, Sequence
from typing import Any

from app.errors import InvalidRequest

# Inputs no longer than this are repeated in a message; longer ones may be training text.
MAX_ECHOED_INPUT_LENGTH = 40


# Where pydantic's words say little to who writes JSON.
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


def to_invalid_request(problems: Sequence[Any], *, body: object = None) -> InvalidRequest:
    """The first of pydantic's findings, as a sentence and the parameter it is about.

    Findings are `ValidationError.errors()`, each with its `loc` inside the body.
    """
    problem = problems[0]
    kind, param = problem["type"], _param_path(problem["loc"], body)
    if kind == "json_invalid":
        reason = problem["ctx"]["error"]
        return InvalidRequest(f"The request body is not valid JSON: {reason}.")
    if param is None and (kind == "missing" or PLAIN_MESSAGES.get(kind) == "expected an object"):
        return InvalidRequest(
            "The request body must be a JSON object, sent with Content-Type: application/json."
        )
    if kind.startswith("union_tag"):
        return _discriminator_error(problem, param)
    if kind == "missing":
        return _missing_parameter(param)
    if kind == "extra_forbidden":
        message = f"Unknown parameter: '{param}'."
        return InvalidRequest(message, param=param, code="unknown_parameter")
    plainly = PLAIN_MESSAGES.get(kind, problem["msg"][0].lower() + problem["msg"][1:])
    reason = plainly.format_map(problem.get("ctx", {})) if kind in PLAIN_MESSAGES else plainly
    return _invalid_value(param, reason, problem.get("input"))


def _discriminator_error(problem: Any, param: str | None) -> InvalidRequest:
    """A field says which of several shapes this has; it is missing, or says something else."""
    field = problem["ctx"]["discriminator"].strip("'")
    whole = field if param is None else f"{param}.{field}"
    if problem["type"] == "union_tag_not_found":
        return _missing_parameter(whole)
    expected = problem["ctx"]["expected_tags"]
    return _invalid_value(whole, f"expected one of {expected}", problem["ctx"]["tag"])


def _missing_parameter(param: str | None) -> InvalidRequest:
    message = f"Missing required parameter: '{param}'."
    return InvalidRequest(message, param=param, code="missing_required_parameter")


def _invalid_value(param: str | None, reason: str, given: object) -> InvalidRequest:
    what = "request" if param is None else f"'{param}'"
    message = f"Invalid {what}: {reason}{_quote_input(given)}."
    return InvalidRequest(message, param=param, code="invalid_value")


def _param_path(loc: Sequence[str | int], body: object) -> str | None:
    """`("messages", 0, "role")` is `messages[0].role`, as OpenAI writes it."""
    name = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in _path_in_body(loc, body)
    )
    return name.removeprefix(".") or None


def _path_in_body(loc: Sequence[str | int], body: object) -> Iterator[str | int]:
    """Those of a finding's places that the body has: pydantic adds words of its own."""
    at: Any = body
    # The word behind a key that is at fault.
    places = [part for part in loc if part != "[key]"]
    for part in places[:-1]:
        # Which of several shapes a thing says that it has.
        if isinstance(at, dict) and part not in at and at.get("type") == part:
            continue
        yield part
        if isinstance(at, dict):
            at = at.get(part)
        elif isinstance(at, list) and isinstance(part, int) and part < len(at):
            at = at[part]
    yield from places[-1:]


def _quote_input(given: object) -> str:
    if given is None or isinstance(given, list | dict | bytes):
        return ""
    text = repr(given)
    return f", but got {text}" if len(text) <= MAX_ECHOED_INPUT_LENGTH else ""
