"""Streaming validator: chunk boundaries do not matter, all bytes get a report, bounded memory."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.formats import DatasetValidator, ValidationReport

MIB = 2**20
LINE = json.dumps(
    {"messages": [{"role": "user", "content": "Hi \n é"}, {"role": "assistant", "content": "Yo"}]}
).encode()


def validate(chunks: list[bytes]) -> ValidationReport:
    validator = DatasetValidator(max_line_bytes=200)
    for chunk in chunks:
        validator.feed(chunk)
    return validator.finish()


# Fragments of malformed files; some errors arise only where two fragments meet.
FRAGMENTS = st.sampled_from(
    [
        LINE,
        LINE + b"\n",
        LINE.replace(b"user", b"bot"),
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\x1f\x8b",
        b"PK\x03\x04",
        b"[",
        b"{",
        b"}",
        b'"',
        b"\\",
        b"\\u0000",
        b"\\ud800",
        b"\0",
        b"\xe2\x80\xa8",
        b"x" * 300,
        b'{"messages": ',
        b'"role"',
    ]
)
FILES = st.one_of(st.binary(), st.lists(st.one_of(FRAGMENTS, st.binary(max_size=4))).map(b"".join))


@given(data=FILES, cuts=st.lists(st.integers(min_value=0, max_value=2000)))
def test_chunking_does_not_change_the_report(data: bytes, cuts: list[int]) -> None:
    ends = [*sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    report = validate(chunks)
    assert report == validate([data])
    assert report == validate([data[i : i + 1] for i in range(len(data))])


@given(FILES)
def test_any_bytes_get_a_report(data: bytes) -> None:
    report = validate([data])
    assert (report.status_details() is None) == (report.error_count == 0)
    assert report.error_count <= max(report.example_count, 1)
    for error in report.errors:
        preceding = data[: error.offset]
        assert preceding.count(b"\n") == error.line - 1
        assert not preceding or preceding.endswith(b"\n")
        error.reason.encode()
        assert error.reason.isprintable()


REPEATED_CHUNKS = {
    "examples": (LINE + b"\n") * 2000,
    "one endless line": b"x" * MIB,
    "blank lines": b"\n" * (MIB // 16),
    "invalid lines": b"{}\n" * 1000,
}


@pytest.mark.parametrize("chunk", REPEATED_CHUNKS.values(), ids=REPEATED_CHUNKS)
def test_large_file_takes_bounded_memory(chunk: bytes) -> None:
    validator = DatasetValidator()
    tracemalloc.start()
    try:
        for _ in range(6):
            validator.feed(chunk)
        validator.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A line may have 4 MiB; chunks of short lines are split 64 KiB at a time.
    assert peak < (6 if chunk.startswith(b"x") else 2) * MIB
