"""Documents of imports: read as YAML 1.2 or JSON, within bounds."""

from typing import Any

import pytest

from app.eval_imports.documents import MAX_DEPTH, parse_document
from app.eval_imports.plan import ImportFault


def nest(lines: int, fan: int, form: str) -> str:
    """Lines of which each repeats the one before it `fan` times by aliases."""
    first = "a0: &a0 {b: 1}"
    rest = (f"a{n}: &a{n} " + form % ", ".join([f"*a{n - 1}"] * fan) for n in range(1, lines))
    return "\n".join([first, *rest])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: yes\nb: on\nc: true", {"a": "yes", "b": "on", "c": True}),
        ("a: ~\nb:\nc: null", {"a": None, "b": None, "c": None}),
        ("a: 010\nb: 0x10\nc: 0o17", {"a": 10, "b": 16, "c": 15}),
        ("a: 1.5\nb: 1e3\nc: 1:30", {"a": 1.5, "b": 1000.0, "c": "1:30"}),
        ("a: 2026-01-01\nb: " + "9" * 5000, {"a": "2026-01-01", "b": "9" * 5000}),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("1: a\nfalse: b", {"1": "a", "false": "b"}),
        (r'{"a": "\ud83d\ude00\/"}', {"a": "😀/"}),
        ("{a: [1, two]}", {"a": [1, "two"]}),
        ("", None),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert parse_document(text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [1,", "neither JSON nor YAML: did not find expected .* in line 2"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: !!binary aGk=", "could not determine a constructor"),
        ("a: !!bool x", "neither JSON nor YAML: it cannot be read"),
        ("a: !!float ''", "neither JSON nor YAML: it cannot be read"),
        ("a: 1\n---\nb: 2", "another document"),
        ("? [1]\n: 2", "unhashable"),
        ("a: &a [*a]", f"deeper than {MAX_DEPTH} levels"),
        ("[" * 100_000, f"deeper than {MAX_DEPTH} levels"),
        (nest(1000, 1, "[%s]"), f"deeper than {MAX_DEPTH} levels"),
        (nest(30, 9, "[%s]"), "more than 200,000 values"),
        (nest(12, 9, "{<<: [%s]}"), "more than 200,000 values"),
        ("a: &a " + "x" * 10_000 + "\nb: [" + "*a, " * 300 + "]", "more than 2,097,152 characters"),
        ("[" + "1," * 200_000 + "1]", "more than 200,000 values"),
        ('a: "\\0"', "the character NUL"),
        ('{"a": "\\u0000"}', "the character NUL"),
        ('{"a": "\\ud800"}', "neither JSON nor YAML"),
    ],
)
def test_documents_that_are_none_or_grow(text: str, problem: str) -> None:
    with pytest.raises(ImportFault, match=problem):
        parse_document(text)
