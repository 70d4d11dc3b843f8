"""Templates in graders: `{{ item.answer }}` and `{{ sample.output_text }}`."""

import json
import re
from collections.abc import Mapping
from typing import Any

# The quantifier is possessive and spaces are stripped afterwards: with `\s*` around a lazy group,
# the time would grow with the cube of a run of spaces.
VARIABLE = re.compile(r"\{\{([^{}]*+)\}\}")
# `.name` or `[0]`, after the namespace.
PATH_STEP = re.compile(r"\.([A-Za-z_][\w-]*)|\[(\d{1,6})\]")
NAMESPACE_PREFIX = re.compile(r"item|sample")


class UnknownVariable(ValueError):
    """A template refers to a variable that is in neither the item nor the sample."""


def build_variables(sample: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """Build the variables of templates. `sample.output_json` exists only if the sample is JSON.

    Samples are plain text, hence without tool calls.
    """
    message = {"role": "assistant", "content": sample, "refusal": None}
    sample_variables: dict[str, Any] = {
        "output_text": sample,
        "output_tools": [],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    try:
        sample_variables["output_json"] = json.loads(sample)
    except (ValueError, RecursionError):
        pass  # most samples are prose; a template that refers to it raises UnknownVariable
    return {"item": item, "sample": sample_variables}


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Replace each variable with its value. Raises UnknownVariable."""
    return VARIABLE.sub(
        lambda match: _to_text(_resolve_path(match[1].strip(), variables)), template
    )


def _resolve_path(path: str, variables: Mapping[str, Any]) -> Any:
    namespace = NAMESPACE_PREFIX.match(path)
    if namespace is None:
        raise UnknownVariable(path)
    value, position = variables[namespace[0]], namespace.end()
    while position < len(path):
        step = PATH_STEP.match(path, position)
        if step is None:
            raise UnknownVariable(path)
        try:
            value = value[step[1]] if step[1] is not None else value[int(step[2])]
        except (KeyError, IndexError, TypeError) as error:
            raise UnknownVariable(path) from error
        position = step.end()
    return value


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
