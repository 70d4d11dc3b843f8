"""The reader yields exactly what the validator accepts."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.formats import (
    ChatExample,
    DatasetValidator,
    FormatName,
    InvalidTrainingFile,
    Message,
    chat,
    completion,
    iter_examples,
)
from app.formats.completion import CompletionExample

TEXTS = ["plain", 'with "quotes" and \\', "a\u2028b", "é\U0001f600", "two\nlines", ""]


def row(text: str) -> bytes:
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    return json.dumps({"messages": messages}).encode()


def read_chats(path: Path) -> Iterator[ChatExample]:
    return iter_examples(path, {FormatName.CHAT: chat.to_example})


def write_file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n \n"])
def test_yields_every_example_in_order(tmp_path: Path, end: bytes) -> None:
    data = b"\xef\xbb\xbf" + end.join(row(text) for text in TEXTS)
    validator = DatasetValidator()
    validator.feed(data)
    assert validator.finish().example_count == len(TEXTS)
    assert list(read_chats(write_file(tmp_path / "a.jsonl", data))) == [
        ChatExample((Message("user", text), Message("assistant", text))) for text in TEXTS
    ]


def test_invalid_example_is_named(tmp_path: Path) -> None:
    examples = read_chats(write_file(tmp_path / "a.jsonl", row("a") + b"\n{}\n" + row("b")))
    next(examples)
    with pytest.raises(InvalidTrainingFile, match="Example 2 is missing key 'messages'"):
        next(examples)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no examples"),
        (b"\x1f\x8b\x08", "gzip"),
        (b'{"text": "a", "label": "b"}', "classification format, not chat"),
    ],
)
def test_file_of_another_format(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(InvalidTrainingFile, match=words):
        list(read_chats(write_file(tmp_path / "a.jsonl", data)))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_chats(tmp_path / "nothing"))


def test_completion_format(tmp_path: Path) -> None:
    pairs = [{"prompt": "", "completion": " a"}, {"prompt": "b\u00e9", "completion": "c"}]
    data = "\n".join(json.dumps(pair) for pair in pairs).encode()
    path = write_file(tmp_path / "a.jsonl", data)
    assert list(iter_examples(path, {FormatName.COMPLETION: completion.to_example})) == [
        CompletionExample("", " a"),
        CompletionExample("b\u00e9", "c"),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "completion": " "}, "completion is empty"),
        ({"prompt": 1, "completion": "b"}, "prompt is a number"),
        ({"prompt": "a", "completion": None}, "completion is null"),
        ({"prompt": "a", "completion": "b", "label": "c"}, 'unrecognized|"label"|label'),
        ({"prompt": "a<|endoftext|>", "completion": "b"}, "invalid token"),
        ({"prompt": "a", "completion": "b<|fim_prefix|>"}, "invalid token"),
    ],
)
def test_invalid_completion(row: dict[str, Any], reason: str) -> None:
    validator = DatasetValidator()
    validator.feed(json.dumps(row).encode())
    (error,) = validator.finish().errors
    assert re.search(reason, error.reason)
