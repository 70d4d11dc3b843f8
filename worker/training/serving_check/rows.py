"""Rows that are asked of the engine: an answer of the file in its training row, and its prompt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.formats import iter_examples
from app.formats.chat import ChatExample
from app.formats.completion import CompletionExample
from app.formats.preference import PreferenceExample
from worker.model.rendering import Renderer, RenderingError, TrainingRow
from worker.model.rendering.file_examples import READERS

# Bounds of the check's cost. A single longer row is asked if no other fits.
MAX_ROWS = 8
MAX_TOKENS = 2048
# Tokens of an answer that are compared.
MAX_ANSWER_TOKENS = 64
# Examples that are looked at.
MAX_EXAMPLES = 64

# A message or a tool, as a client sends it.
Wire = dict[str, Any]
PromptRenderer = Callable[[Renderer], list[int]]


@dataclass(frozen=True, slots=True, eq=False)
class CheckRow:
    """An answer in the row that it was trained in.

    number         of the example in its file, from 1
    render_prompt  renders what a client sends to get the answer
    ids            of the training row up to the end of the answer, or of its compared part
    start          position of the answer's first token
    """

    number: int
    render_prompt: PromptRenderer
    ids: NDArray[np.int32]
    start: int


def select_rows(path: Path, renderer: Renderer) -> list[CheckRow]:
    """Select the first answers of a valid file that fit into the check's bounds.

    Left out are answers that no client can ask for: those without a prompt, those whose prompt the
    template refuses, and those that training renders after another one.
    """
    selected: list[CheckRow] = []
    shortest: CheckRow | None = None
    tokens = 0
    for row in _iterate_rows(path, renderer):
        if tokens + len(row.ids) <= MAX_TOKENS:
            selected.append(row)
            tokens += len(row.ids)
        elif shortest is None or len(row.ids) < len(shortest.ids):
            shortest = row
        if len(selected) == MAX_ROWS:
            break
    return selected or ([shortest] if shortest else [])


def _iterate_rows(path: Path, renderer: Renderer) -> Iterator[CheckRow]:
    """Yield the answers of the first examples that fit into the context as a whole."""
    for number, example in enumerate(islice(iter_examples(path, READERS), MAX_EXAMPLES), start=1):
        try:
            yield from _READERS[type(example)](number, example, renderer)
        except RenderingError:
            continue


def _read_chat(number: int, example: ChatExample, renderer: Renderer) -> Iterator[CheckRow]:
    """Yield the last answer that is learned."""
    messages = [message.to_wire() for message in example.messages]
    learned = [
        place
        for place, message in enumerate(example.messages)
        if message.role == "assistant" and message.weight
    ]
    if learned:
        prompt = messages[: learned[-1]]
        yield from _render_answer(number, messages, prompt, example.tools, renderer)


def _read_preference(
    number: int, example: PreferenceExample, renderer: Renderer
) -> Iterator[CheckRow]:
    """Yield both answers."""
    prompt = [{**message.to_wire(), "weight": 0} for message in example.messages]
    for answer in (example.chosen, example.rejected):
        messages = [*prompt, answer.to_wire()]
        yield from _render_answer(number, messages, prompt, example.tools, renderer)


def _read_completion(
    number: int, example: CompletionExample, renderer: Renderer
) -> Iterator[CheckRow]:
    row = renderer.render_completion(example.prompt, example.completion)
    if row.is_complete:
        yield from _locate(number, [row], partial(_encode_text, example.prompt), renderer)


def _render_answer(
    number: int,
    messages: Sequence[Wire],
    prompt: Sequence[Wire],
    tools: Sequence[Wire],
    renderer: Renderer,
) -> Iterator[CheckRow]:
    if not prompt:
        return
    rendered = renderer.render_example(messages, tools)
    # With an answer that does not fit, or that the template leaves out, it is unknown which.
    if rendered.rows and rendered.num_learned == rendered.num_turns:
        yield from _locate(number, rendered.rows, partial(_render_chat, prompt, tools), renderer)


def _locate(
    number: int, rows: Sequence[TrainingRow], render_prompt: PromptRenderer, renderer: Renderer
) -> Iterator[CheckRow]:
    """Yield the row that has the prompt, and after it an answer that is learned."""
    start = len(prompt := render_prompt(renderer))
    for row in rows:
        is_learned = row.loss_mask[start : start + 1].any()
        if start and is_learned and np.array_equal(row.ids[:start], prompt):
            yield CheckRow(number, render_prompt, _cut(row, start), start)
            return


def _cut(row: TrainingRow, start: int) -> NDArray[np.int32]:
    """Cut a row at the end of the answer that begins at `start`, or of its compared part."""
    answer = row.loss_mask[start : start + MAX_ANSWER_TOKENS]
    return row.ids[: start + int(np.argmin(np.append(answer, False)))]


def _render_chat(messages: Sequence[Wire], tools: Sequence[Wire], renderer: Renderer) -> list[int]:
    sent = [{key: value for key, value in each.items() if key != "weight"} for each in messages]
    return renderer.render_prompt(sent, tools)


def _encode_text(text: str, renderer: Renderer) -> list[int]:
    return renderer.encode_text(text)


_READERS: Mapping[type, Callable[[int, Any, Renderer], Iterator[CheckRow]]] = {
    ChatExample: _read_chat,
    PreferenceExample: _read_preference,
    CompletionExample: _read_completion,
}
