"""Rows of a test file: the prompt of each, as serving renders it, and the answer to compare with.

The last message of a chat is the answer; the messages before it are the prompt.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.formats import FormatName, chat, completion, iter_examples, preference
from app.formats.chat import ChatExample, Message
from app.formats.completion import CompletionExample
from app.formats.preference import PreferenceExample
from worker.model.rendering import PromptTooLong, Renderer, RenderingError

# Rows that are measured; of a longer file, rows at equal distances.
MAX_TEST_ROWS = 500
# Longer answers are not measured: generating them would take as long as training.
MAX_REFERENCE_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class TestRow:
    """One row: its number in the file (from 1), its prompt's token ids, and the right answer."""

    # Not a class of tests.
    __test__ = False

    number: int
    prompt: list[int]
    reference: str
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class TestRows:
    """The rows to measure of the `total` of a file; `skipped` do not fit, or call tools."""

    __test__ = False

    rows: Sequence[TestRow]
    total: int
    skipped: int


Example = ChatExample | CompletionExample | PreferenceExample
READERS: Mapping[FormatName, Callable[[dict[str, Any]], Example]] = {
    FormatName.CHAT: chat.to_example,
    FormatName.COMPLETION: completion.to_example,
    FormatName.PREFERENCE: preference.to_example,
}


def read_test_rows(path: Path, renderer: Renderer) -> TestRows:
    """Read a valid file, and choose its rows to measure."""
    total = sum(1 for _ in iter_examples(path, READERS))
    chosen = set(_choose(total))
    rows = [
        row
        for number, example in enumerate(iter_examples(path, READERS), start=1)
        if number in chosen and (row := _to_row(number, example, renderer)) is not None
    ]
    return TestRows(rows, total, skipped=len(chosen) - len(rows))


def _choose(total: int) -> Iterator[int]:
    """Yield the numbers of at most MAX_TEST_ROWS rows, at equal distances."""
    count = min(total, MAX_TEST_ROWS)
    yield from (index * total // count + 1 for index in range(count))


def _to_row(number: int, example: Example, renderer: Renderer) -> TestRow | None:
    reference = _find_reference(example)
    if not reference or renderer.min_token_count(reference) > MAX_REFERENCE_TOKENS:
        return None
    try:
        prompt = _render_prompt(example, renderer)
    except (PromptTooLong, RenderingError):
        return None
    length = len(renderer.encode_text(reference))
    # Room for an answer that is longer than the right one, so that a model cannot look good by
    # being cut; bounded, since a base model may never stop.
    room = min(2 * length + 64, renderer.context_length - len(prompt))
    if length > MAX_REFERENCE_TOKENS or room <= length:
        return None
    return TestRow(number, prompt, reference, room)


def _render_prompt(example: Example, renderer: Renderer) -> list[int]:
    if isinstance(example, CompletionExample):
        return renderer.encode_text(example.prompt)
    messages: Sequence[Message] = example.messages
    if isinstance(example, ChatExample):
        messages = messages[:-1]
    return renderer.render_prompt([message.to_wire() for message in messages], example.tools)


def _find_reference(example: Example) -> str | None:
    if isinstance(example, CompletionExample):
        return example.completion
    answer = example.chosen if isinstance(example, PreferenceExample) else example.messages[-1]
    return None if answer.tool_calls else answer.content
