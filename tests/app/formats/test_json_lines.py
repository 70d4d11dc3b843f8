"""Exactness of two optimizations: finding duplicate keys by counting quotation marks, and the fast
path around the full checks."""

import json
from typing import Any

import pytest
from hypothesis import example as with_example
from hypothesis import given
from hypothesis import strategies as st

from app.formats import DatasetValidator
from app.formats.chat import FORMAT
from app.formats.errors import InvalidExample
from app.formats.json_lines import check_strictness, is_strict, parse

# JSON with objects as lists of pairs, so that keys can be duplicated.
TEXT = st.text(alphabet=st.sampled_from('ab"\\/\u00e9\u2028\U0001f600\n'), max_size=4)
PAIRS = st.recursive(
    st.one_of(TEXT, st.none(), st.booleans(), st.integers(-9, 9)),
    lambda value: st.one_of(
        st.lists(value, max_size=3).map(lambda items: ("list", items)),
        st.lists(st.tuples(TEXT, value), max_size=3).map(lambda pairs: ("object", pairs)),
    ),
    max_leaves=12,
)


def serialize(value: Any, *, ascii: bool) -> str:
    if not isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=ascii)
    kind, items = value
    if kind == "list":
        return "[" + ",".join(serialize(item, ascii=ascii) for item in items) + "]"
    pairs = (f"{serialize(k, ascii=ascii)}: {serialize(v, ascii=ascii)}" for k, v in items)
    return "{" + ", ".join(pairs) + "}"


def has_duplicate_key(value: Any) -> bool:
    if not isinstance(value, tuple):
        return False
    kind, items = value
    if kind == "list":
        return any(map(has_duplicate_key, items))
    keys = [key for key, _ in items]
    return len(set(keys)) < len(keys) or any(has_duplicate_key(item) for _, item in items)


@given(value=PAIRS, ascii=st.booleans())
@with_example(value=("object", [("a", '"'), ("a", "\\")]), ascii=True)
def test_finds_exactly_the_duplicate_keys(value: Any, ascii: bool) -> None:
    line = serialize(value, ascii=ascii).encode()
    row = parse(line)
    if not has_duplicate_key(value):
        check_strictness(row, line)
        return
    with pytest.raises(InvalidExample, match="twice in one object"):
        check_strictness(row, line)


def test_many_keys_take_linear_time() -> None:
    keys = ", ".join(f'"{n}": 0' for n in range(200_000))
    line = f'{{{keys}, "199999": 1}}'.encode()
    with pytest.raises(InvalidExample, match='"199999" twice'):
        check_strictness(parse(line), line)


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        (rb'{"a": "b"}', True),
        (rb'{"a": "\"b\\"}', True),
        (rb'{"a": "\\\\\""}', True),
        (rb'{"a": "\u0022"}', True),
        (rb'{"a": "b", "a": "b"}', False),
        (rb'{"a": "\\", "a": "\""}', False),
        (rb'{"a": "\u0000"}', False),
    ],
)
def test_is_strict(line: bytes, clean: bool) -> None:
    assert is_strict(line, string_count=2) == clean


WORDS = st.sampled_from(
    "messages role content weight tool_calls tools user assistant tool id type function name "
    "arguments text a <|endoftext|> \0".split(" ")
)
ROWS: st.SearchStrategy[Any] = st.recursive(
    st.one_of(WORDS, st.none(), st.booleans(), st.integers(-1, 2), st.floats()),
    lambda value: st.one_of(st.lists(value, max_size=3), st.dictionaries(WORDS, value, max_size=4)),
    max_leaves=20,
)
MESSAGES = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "weight", "tool_calls"]), ROWS, max_size=4)
)


@given(st.one_of(ROWS, MESSAGES.map(lambda messages: {"messages": messages})))
def test_any_row_is_reported_on_and_the_fast_path_accepts_no_invalid_one(row: Any) -> None:
    line = json.dumps(row, allow_nan=True).encode()
    validator = DatasetValidator()
    validator.feed(line)
    report = validator.finish()
    assert report.example_count <= 1
    strings = FORMAT.fast_check(row)
    if strings and is_strict(line, strings):
        FORMAT.check(row)
        check_strictness(row, line)
