"""Reading of JSON and YAML documents within bounds, as the values that JSON has.

YAML is read as version 1.2, as promptfoo does: `yes` and `on` are texts. Before anything is made of
a document, its size, its depth and the values that its aliases stand for are bounded.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson
import yaml

from app.eval_imports.plan import ImportFault

# Texts, numbers, lists and objects, those that aliases repeat included.
MAX_VALUES = 200_000
# Of texts, those that aliases repeat included: twice as many as a request may have.
MAX_CHARS = 2 * 2**20
MAX_DEPTH = 100
MAX_INTEGER = 2**63

TAG = "tag:yaml.org,2002:"
# Each with the characters that such a text may begin with.
RESOLVERS = (
    ("null", re.compile(r"^(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    (
        "int",
        re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
        list("-+0123456789"),
    ),
    (
        "float",
        re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"),
        list("-+.0123456789"),
    ),
    ("merge", re.compile(r"^<<\Z"), ["<"]),
)
BASES = {"0o": 8, "0x": 16}


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]
    """The types of JSON only, recognized as by YAML 1.2's core schema."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
    yaml_constructors: ClassVar[dict[str | None, Any]] = {}

    def construct_integer(self, node: yaml.ScalarNode) -> int | str:
        text = self.construct_scalar(node)
        number = int(text, BASES.get(text[:2].lower(), 10)) if len(text) < 30 else MAX_INTEGER
        return number if abs(number) < MAX_INTEGER else text


for _tag, _pattern, _first in RESOLVERS:
    _Loader.add_implicit_resolver(f"{TAG}{_tag}", _pattern, _first)
for _tag in ("null", "bool", "float", "str", "seq", "map"):
    _Loader.add_constructor(f"{TAG}{_tag}", yaml.SafeLoader.yaml_constructors[f"{TAG}{_tag}"])
_Loader.add_constructor(f"{TAG}int", _Loader.construct_integer)
# Any other tag.
_Loader.add_constructor(None, yaml.SafeLoader.yaml_constructors[None])


def parse_document(text: str) -> Any:
    """Parse a document. Raises ImportFault."""
    document = _parse_json(text) if text.lstrip()[:1] in ("{", "[") else _parse_yaml(text)
    return _Normalizer().normalize(document)


def _parse_json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # YAML may begin with a brace too.
        return _parse_yaml(text)


def _parse_yaml(text: str) -> Any:
    try:
        _check_nesting(text)
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            return None
        _check_expansion(node, {}, 0)
        loader = _Loader("")
        try:
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, LookupError) as error:
        raise ImportFault(f"The document is neither JSON nor YAML: {_describe(error)}") from error


def _check_nesting(text: str) -> None:
    """Raise ImportFault for a text that is nested too deeply to be composed."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _too_deep()
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


@dataclass(frozen=True, slots=True)
class _Extent:
    """Size of a node's content, with all that its aliases repeat."""

    values: int
    chars: int
    height: int


def _check_expansion(node: yaml.Node, measured: dict[int, _Extent], depth: int) -> _Extent:
    """Measure what a node stands for. Raises ImportFault.

    An alias to a node around it is nested without end.
    """
    known = measured.get(id(node))
    if known is None:
        if depth > MAX_DEPTH:
            raise _too_deep()
        children = [_check_expansion(child, measured, depth + 1) for child in _children(node)]
        own = len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        known = measured[id(node)] = _Extent(
            values=1 + sum(child.values for child in children),
            chars=own + sum(child.chars for child in children),
            height=1 + max((child.height for child in children), default=0),
        )
    if known.values > MAX_VALUES:
        raise _too_many()
    if known.chars > MAX_CHARS:
        raise ImportFault(
            f"The document has texts of more than {MAX_CHARS:,} characters, those that its aliases "
            "repeat included."
        )
    if depth + known.height > MAX_DEPTH:
        raise _too_deep()
    return known


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


class _Normalizer:
    """Copies a document, with texts as the keys of objects, up to the limits."""

    def __init__(self) -> None:
        self._remaining = MAX_VALUES

    def normalize(self, value: Any, depth: int = 0) -> Any:
        self._remaining -= 1
        if self._remaining < 0:
            raise _too_many()
        if depth > MAX_DEPTH:
            raise _too_deep()
        if isinstance(value, dict):
            return {
                self._to_key(key): self.normalize(each, depth + 1) for key, each in value.items()
            }
        if isinstance(value, list):
            return [self.normalize(each, depth + 1) for each in value]
        if isinstance(value, float) and not math.isfinite(value):
            raise ImportFault("The document has a number that is not finite.")
        return _check_text(value) if isinstance(value, str) else value

    def _to_key(self, key: Any) -> str:
        self._remaining -= 1
        return _check_text(key if isinstance(key, str) else orjson.dumps(key).decode())


def _check_text(text: str) -> str:
    if "\0" in text or not _is_unicode(text):
        raise ImportFault("The document has the character NUL or a half of a character in a text.")
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_deep() -> ImportFault:
    return ImportFault(f"The document is nested deeper than {MAX_DEPTH} levels.")


def _too_many() -> ImportFault:
    return ImportFault(
        f"The document has more than {MAX_VALUES:,} values, those that its aliases repeat included."
    )


def _describe(error: Exception) -> str:
    """Describe an error without quoting the document."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be read"
    return f"{problem} in line {mark.line + 1}." if mark is not None else f"{problem}."
