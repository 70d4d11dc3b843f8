"""Templates in graders: `{{ item.answer }}` and `{{ sample.output_text }}`."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

# The quantifier is possessive and spaces are stripped afterwards: with `\s*` around a lazy group,
# the time would grow with the cube of a run of spaces.
VARIABLE = re.compile(r"\{\{([^{}]*+)\}\}")
# The begin of a variable, to be looked for where no whole one is.
VARIABLE_START = re.compile(r"\{\{\s*+(?:item|sample)\b")
# `.name` or `[0]`, after the namespace.
PATH_STEP = re.compile(r"\.([A-Za-z_][\w-]*)|\[(\d{1,6})\]")
NAMESPACE_PREFIX = re.compile(r"item|sample")
# Fields of `sample`; the second is there if the first is JSON.
OUTPUT_VARIABLES = frozenset({"output_text", "output_json", "output_tools", "choices"})


class UnknownVariable(ValueError):
    """A template refers to a variable that is in neither the item nor the sample."""


class RenderedTooLong(ValueError):
    """The rendered texts are longer than a renderer's limit."""


def build_variables(sample: str | Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
    """Build the variables of templates. `sample.output_json` exists only if the sample is JSON.

    A sample that is plain text has no tool calls.
    """
    variables = _describe_text(sample) if isinstance(sample, str) else dict(sample)
    try:
        variables["output_json"] = orjson.loads(variables.get("output_text") or "")
    except orjson.JSONDecodeError:
        pass  # most samples are prose; a template that refers to it raises UnknownVariable
    return {"item": item, "sample": variables}


def _describe_text(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "output_text": text,
        "output_tools": [],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }


class Renderer:
    """Renders templates with the same variables, up to `max_chars` in all.

    A template may name a long value many times, so a short request could fill any memory.
    """

    def __init__(self, variables: Mapping[str, Any], max_chars: int) -> None:
        self._variables = variables
        self._remaining_chars = max_chars

    def render(self, template: str) -> str:
        """Replace each variable with its value. Raises UnknownVariable, RenderedTooLong."""
        parts = []
        # Counted before they are joined: until then, a value takes memory only once.
        for part in self._parts(template):
            self._remaining_chars -= len(part)
            if self._remaining_chars < 0:
                raise RenderedTooLong
            parts.append(part)
        return "".join(parts)

    def _parts(self, template: str) -> Iterator[str]:
        position = 0
        for match in VARIABLE.finditer(template):
            yield template[position : match.start()]
            yield _to_text(resolve_path(match[1].strip(), self._variables))
            position = match.end()
        yield template[position:]


def find_variables(template: str) -> Iterator[str]:
    """Find the paths of the variables in a template, such as `item.answer`."""
    return (match[1].strip() for match in VARIABLE.finditer(template))


def is_unclosed(template: str) -> bool:
    """True if a variable begins that does not end; other braces are text."""
    return VARIABLE_START.search(VARIABLE.sub("", template)) is not None


def parse_path(path: str) -> tuple[str, list[str | int]]:
    """Split a variable's path into its namespace and its steps. Raises UnknownVariable."""
    namespace = NAMESPACE_PREFIX.match(path)
    if namespace is None:
        raise UnknownVariable(path)
    position = namespace.end()
    steps: list[str | int] = []
    while position < len(path):
        step = PATH_STEP.match(path, position)
        if step is None:
            raise UnknownVariable(path)
        steps.append(step[1] if step[1] is not None else int(step[2]))
        position = step.end()
    return namespace[0], steps


def resolve_path(path: str, variables: Mapping[str, Any]) -> Any:
    namespace, steps = parse_path(path)
    value = variables[namespace]
    for step in steps:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError) as error:
            raise UnknownVariable(path) from error
    return value


def _to_text(value: Any) -> str:
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError as error:
        # The sample is nested too deeply to be written again.
        raise UnknownVariable("a value that is nested too deeply") from error
