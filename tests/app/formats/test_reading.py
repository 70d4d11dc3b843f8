"""What a judge accepts is exactly what the reader yields."""

import json
from pathlib import Path

import pytest

from app.formats import ChatExample, FaultyFile, Judge, Message, read_examples

TEXTS = ["plain", 'with "quotes" and \\', "a\u2028b", "é\U0001f600", "two\nlines", ""]


def row(text: str) -> bytes:
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    return json.dumps({"messages": messages}).encode()


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n \n"])
def test_every_accepted_example_in_its_order(tmp_path: Path, end: bytes) -> None:
    data = b"\xef\xbb\xbf" + end.join(row(text) for text in TEXTS)
    judge = Judge()
    judge.feed(data)
    assert judge.finish().examples == len(TEXTS)
    assert list(read_examples(written(tmp_path / "a.jsonl", data))) == [
        ChatExample((Message("user", text), Message("assistant", text))) for text in TEXTS
    ]


def test_a_faulty_example_is_named(tmp_path: Path) -> None:
    examples = read_examples(written(tmp_path / "a.jsonl", row("a") + b"\n{}\n" + row("b")))
    next(examples)
    with pytest.raises(FaultyFile, match="Example 2 is missing key 'messages'"):
        next(examples)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no examples"),
        (b"\x1f\x8b\x08", "gzip"),
        (b'{"text": "a", "label": "b"}', "classification format, not chat"),
    ],
)
def test_a_file_of_something_else(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(FaultyFile, match=words):
        list(read_examples(written(tmp_path / "a.jsonl", data)))


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_examples(tmp_path / "nothing"))
