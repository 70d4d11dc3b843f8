"""Validation takes time proportional to the file, whatever its rows are made of."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.formats.validator import DatasetValidator
from tests.growth import assert_linear

CHUNK_BYTES = 64 * 1024
USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant", "content": "yo"}


def dump(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def build_tool(number: int) -> dict[str, Any]:
    schema = {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": f"f{number}", "parameters": schema}}


def build_parameters(n: int) -> bytes:
    schema = {
        "type": "object",
        "properties": {f"k{i}": {"type": "string"} for i in range(n)},
        "required": [f"k{i}" for i in range(n)],
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    return dump({"messages": [USER, ASSISTANT], "tools": [tool]})


def build_entities(text: str, spans: list[tuple[int, int]]) -> bytes:
    entities = [{"start": start, "end": end, "label": "a"} for start, end in spans]
    return dump({"text": text, "entities": entities})


def build_answers(n: int) -> bytes:
    answers = {"text": ["ab" * 8] * n, "answer_start": [0] * n}
    return dump({"context": "ab" * n, "question": "q", "answers": answers})


def build_misplaced_answer(n: int) -> bytes:
    answers = {"text": ["ab" * (n // 2) + "c"], "answer_start": [0]}
    return dump({"context": "ab" * n, "question": "q", "answers": answers})


FILES: dict[str, Callable[[int], bytes]] = {
    "content parts": lambda n: dump(
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * n}, ASSISTANT]}
    ),
    "tools": lambda n: dump(
        {"messages": [USER, ASSISTANT], "tools": [build_tool(i) for i in range(n)]}
    ),
    "parameters": build_parameters,
    "entities": lambda n: build_entities("ab " * n, [(3 * i, 3 * i + 2) for i in range(n)]),
    "entities that each span the text": lambda n: build_entities(" a" * 20 * n, [(1, 40 * n)] * n),
    "combining marks": lambda n: build_entities(
        "a" + "\N{COMBINING ACUTE ACCENT}" * n, [(i, i + 1) for i in range(n)]
    ),
    "tags": lambda n: dump({"tokens": ["a"] * n, "tags": ["B-x"] * n}),
    "answers": build_answers,
    "an answer that is elsewhere": build_misplaced_answer,
    "nesting": lambda n: b'{"text":' + b"[" * n + b"]" * n + b"}\n",
    "keys": lambda n: dump({f"k{i}": 1 for i in range(n)}),
    "the same key": lambda n: b"{" + b'"k":1,' * n + b'"k":1}\n',
    "digits": lambda n: b'{"text":' + b"9" * n + b"}\n",
    "decimals": lambda n: b'{"text":0.' + b"9" * n + b"}\n",
    "numbers with equal low bits": lambda n: dump({"a": [i << 20 for i in range(n)]}),
    "escapes": lambda n: b'{"text":"' + b"\\\\" * n + b'"}\n',
    "surrogates": lambda n: b'{"text":"' + b"\\ud800" * n + b'"}\n',
    "spaces": lambda n: dump({"text": " " * n, "label": "a"}),
    "invalid lines": lambda n: b"x\n" * n,
    "empty lines": lambda n: b"\n" * n,
    "duplicates": lambda n: dump({"text": "x", "label": "a"}) * n,
    "labels": lambda n: b"".join(dump({"text": f"x{i}", "label": f"l{i}"}) for i in range(n)),
    "lists of labels": lambda n: b"".join(
        dump({"text": f"x{i}", "labels": [f"l{j}" for j in range(10)]}) for i in range(n)
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a61_validation_is_linear(kind: str) -> None:
    def prepare(size: int) -> Callable[[], None]:
        data = FILES[kind](size)

        def validate() -> None:
            validator = DatasetValidator()
            for start in range(0, len(data), CHUNK_BYTES):
                validator.feed(data[start : start + CHUNK_BYTES])
            validator.finish()

        return validate

    assert_linear(prepare, max_size=2**15)
