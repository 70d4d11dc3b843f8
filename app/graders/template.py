"""`{{ item.answer }}` and `{{ sample.output_text }}` in the texts of graders."""

import json
import re
from collections.abc import Mapping
from typing import Any

VARIABLE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
# `.name` or `[0]`, after the first name.
PATH_STEP = re.compile(r"\.([A-Za-z_][\w-]*)|\[(\d{1,6})\]")
NAMESPACE = re.compile(r"item|sample")


class UnknownVariable(ValueError):
    """A template names something that is neither in the item nor in the sample."""


def build_variables(sample: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """What templates may name. `sample.output_json` is there if the sample is JSON.

    A sample that is given as text has called no tools.
    """
    message = {"role": "assistant", "content": sample, "refusal": None}
    seen: dict[str, Any] = {
        "output_text": sample,
        "output_tools": [],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    try:
        seen["output_json"] = json.loads(sample)
    except (ValueError, RecursionError):
        pass  # most samples are prose; naming it is then an UnknownVariable
    return {"item": item, "sample": seen}


def render(template: str, names: Mapping[str, Any]) -> str:
    """The text with each variable's value in its place. Raises UnknownVariable."""
    return VARIABLE.sub(lambda found: _to_text(_resolve_path(found[1], names)), template)


def _resolve_path(path: str, names: Mapping[str, Any]) -> Any:
    start = NAMESPACE.match(path)
    if start is None:
        raise UnknownVariable(path)
    value, at = names[start[0]], start.end()
    while at < len(path):
        step = PATH_STEP.match(path, at)
        if step is None:
            raise UnknownVariable(path)
        try:
            value = value[step[1]] if step[1] is not None else value[int(step[2])]
        except (KeyError, IndexError, TypeError) as error:
            raise UnknownVariable(path) from error
        at = step.end()
    return value


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
