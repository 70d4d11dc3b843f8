"""Usage read from answers as they pass, whole and in pieces."""

from collections.abc import AsyncIterator

import pytest

from app.inference.answer_usage import (
    TokenCounts,
    UsageReader,
    read_tokens,
    read_usage,
    request_usage,
    wants_usage,
)
from app.usage.ledger import UsageCounts

pytestmark = pytest.mark.anyio

USAGE = (
    b'"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,'
    b'"prompt_tokens_details":{"cached_tokens":5}}'
)
COUNTS = UsageCounts(1, 9, 5, 4)
WORDS = [b'data: {"choices":[{"delta":{"content":"%d"}}],"usage":null}\n\n' % n for n in range(3)]
LAST = b'data: {"choices":[],' + USAGE + b"}\n\n"
DONE = b"data: [DONE]\n\n"


async def read(reader: UsageReader, pieces: list[bytes]) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return b"".join([chunk async for chunk in reader.read(chunks())])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"choices":[],' + USAGE + b',"service_tier":"default"}', COUNTS),
        (b"{" + USAGE + b"}", COUNTS),
        (b'{"usage":{"prompt_tokens":3,"total_tokens":3}}', UsageCounts(1, 3, 0, 0)),
        (b'{"usage":null}', None),
        (b"", None),
        (b'{"usage":{"prompt_tokens":"many"}}', None),
        (b'{"usage":{"prompt_tokens":1', None),
        (b'{"usage":{"prompt_tokens":-1}}', None),
        (b'{"usage":{"prompt_tokens":1,"completion_tokens":9007199254740993}}', None),
        (b'{"usage":{"prompt_tokens":2,"prompt_tokens_details":[1]}}', UsageCounts(1, 2, 0, 0)),
        # A text that looks like usage is escaped.
        (b'{"content":"\\"usage\\":{\\"prompt_tokens\\":1}"}', None),
        (b"{" + USAGE + b',"content":"\\"usage\\":{\\"prompt_tokens\\":1}"}', COUNTS),
    ],
)
def test_usage_of_an_answer(body: bytes, expected: UsageCounts | None) -> None:
    assert read_usage(body) == expected


def test_reasoning_tokens_of_an_answer() -> None:
    body = (
        b'{"usage":{"prompt_tokens":2,"completion_tokens":7,'
        b'"completion_tokens_details":{"reasoning_tokens":5}}}'
    )
    assert read_tokens(body) == TokenCounts(input=2, cached=0, output=7, reasoning=5)


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_stream_is_passed_without_usage_unless_it_is_wanted(size: int) -> None:
    """However the connection cuts it."""
    stream = b"".join([*WORDS, LAST, DONE])
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    for is_wanted in (False, True):
        reader = UsageReader(is_stream=True, is_wanted=is_wanted)
        passed = await read(reader, pieces)
        assert reader.usage == COUNTS
        if is_wanted:
            assert passed == stream
        else:
            assert passed == b"".join([*WORDS, DONE]).replace(b',"usage":null', b"")


async def test_usage_beside_the_last_token_costs_no_token() -> None:
    """Some engines send both in one event."""
    event = b'data: {"choices":[{"delta":{"content":"!"}}],' + USAGE + b"}\n\n"
    reader = UsageReader(is_stream=True, is_wanted=False)
    assert await read(reader, [event, DONE]) == event + DONE
    assert reader.usage == COUNTS


async def test_a_stream_that_breaks_off_has_the_events_that_came() -> None:
    reader = UsageReader(is_stream=True, is_wanted=False)
    assert (
        await read(reader, [*WORDS, b"data: {"])
        == b"".join(WORDS).replace(b',"usage":null', b"") + b"data: {"
    )
    assert (reader.usage, reader.num_events) == (None, 3)


def test_a_stream_is_asked_for_usage_and_nothing_else_changes() -> None:
    options = {"include_obfuscation": False}
    assert request_usage({"stream": True, "stream_options": options})["stream_options"] == {
        "include_obfuscation": False,
        "include_usage": True,
    }
    assert request_usage({"stream": False}) == {"stream": False}


@pytest.mark.parametrize("options", ["AAA", 1, ["include_usage"]])
def test_options_that_are_no_object_are_left_to_the_engine(options: object) -> None:
    body = {"stream": True, "stream_options": options}
    assert request_usage(body) == body
    assert not wants_usage(body)
