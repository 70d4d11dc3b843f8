"""Examples of training files, rendered: the same for training and for the check before it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.formats import (
    ChatExample,
    FormatName,
    PreferenceExample,
    chat,
    completion,
    preference,
)
from app.formats.completion import CompletionExample
from app.wire.long_rows import LongRowPolicy
from worker.model.rendering.errors import RenderingError
from worker.model.rendering.examples import RenderedChat
from worker.model.rendering.renderer import Renderer
from worker.model.rendering.rows import TrainingRow

Example = ChatExample | CompletionExample | PreferenceExample
READERS: Mapping[FormatName, Callable[[Mapping[str, Any]], Example]] = {
    FormatName.CHAT: chat.to_example,
    FormatName.COMPLETION: completion.to_example,
    FormatName.PREFERENCE: preference.to_example,
}

PLAIN_TEMPLATE_WARNING = (
    "The base model has no chat template: the chats are written in a plain one, in which the "
    "model's end token separates messages."
)
NO_REASONING_WARNING = (
    "The base model's chat template has no form for reasoning: `reasoning_content` is left out, "
    "and reasoning in the content is learned as text."
)


def render_text_or_chat(
    renderer: Renderer, example: ChatExample | CompletionExample
) -> RenderedChat:
    """Render an example of a supervised job. Raises RenderingError."""
    if isinstance(example, CompletionExample):
        row = renderer.render_completion(example.prompt, example.completion)
        return RenderedChat([row], num_turns=0, num_learned=0)
    return renderer.render_example(
        [message.to_wire() for message in example.messages], example.tools
    )


def is_too_long(rendered: RenderedChat) -> bool:
    """Check whether an answer or a completion does not fit into the context length as a whole."""
    is_cut_completion = rendered.num_turns == 0 and not all(r.is_complete for r in rendered.rows)
    return rendered.num_cut > 0 or is_cut_completion


def apply_policy(rendered: RenderedChat, policy: LongRowPolicy) -> RenderedChat:
    """Leave out the rows of an example that is too long, unless what fits of it is learned."""
    if policy == LongRowPolicy.TRUNCATE:
        return rendered
    return RenderedChat([], rendered.num_turns, 0, rendered.num_cut)


def render_outputs(
    renderer: Renderer, example: PreferenceExample
) -> tuple[RenderedChat, RenderedChat]:
    """Render the input with either output, the only text in the loss. Raises RenderingError."""
    input = [{**message.to_wire(), "weight": 0} for message in example.messages]
    chosen, rejected = (
        renderer.render_example([*input, output.to_wire()], example.tools)
        for output in (example.chosen, example.rejected)
    )
    return chosen, rejected


def find_rows_to_compare(
    outputs: tuple[RenderedChat, RenderedChat],
) -> tuple[TrainingRow, TrainingRow] | None:
    """Return the rows of a pair of outputs; None if they are cut, not rendered, or the same."""
    if any(output.num_cut for output in outputs):
        return None
    learned = [next(filter(has_labels, output.rows), None) for output in outputs]
    chosen, rejected = learned
    if chosen is None or rejected is None or np.array_equal(chosen.ids, rejected.ids):
        return None
    return chosen, rejected


def find_labels(row: TrainingRow) -> NDArray[np.int32]:
    """Find the positions of the tokens to learn. The first has no predecessor to predict it."""
    return np.flatnonzero(row.loss_mask[1:]).astype(np.int32) + 1


def has_labels(row: TrainingRow) -> bool:
    """True if a row has any token to learn."""
    return bool(row.loss_mask[1:].any())


@dataclass(frozen=True, slots=True)
class LearningCheck:
    """Result of rendering examples until one has something to learn.

    `error` is the reason why one before it cannot be rendered; `num_turns` are the turns in vain.
    """

    is_learned: bool = False
    num_turns: int = 0
    error: str | None = None


def check_learning(
    renderer: Renderer, examples: Iterable[Example], *, first_number: int
) -> LearningCheck:
    """Render examples, numbered from `first_number`, until one has something to learn.

    Whether answers may begin with reasoning depends on the whole file, which is not known here: an
    example teaches nothing, or cannot be rendered, only if that is so with and without.
    """
    num_turns = 0
    for number, example in enumerate(examples, start=first_number):
        error: RenderingError | None = None
        turns: list[int] = []
        for thinking in (False, True):
            options = replace(renderer.options, thinking=thinking)
            try:
                is_learned, count = _learns(renderer.with_options(options), example)
            except RenderingError as raised:
                error = raised
                continue
            if is_learned:
                return LearningCheck(is_learned=True)
            turns.append(count)
        if not turns:
            return LearningCheck(error=f"Example {number}: {error}")
        num_turns += max(turns)
    return LearningCheck(num_turns=num_turns)


def _learns(renderer: Renderer, example: Example) -> tuple[bool, int]:
    """Check whether an example has something to learn, and count the turns that could be."""
    if isinstance(example, PreferenceExample):
        return find_rows_to_compare(render_outputs(renderer, example)) is not None, 1
    rendered = render_text_or_chat(renderer, example)
    return any(map(has_labels, rendered.rows)), rendered.num_turns


def template_warnings(renderer: Renderer) -> list[str]:
    """Say what the base model's template lacks for chats; nothing if it cannot render any."""
    if not renderer.reads_chats:
        return []
    warnings = [] if renderer.has_chat_template else [PLAIN_TEMPLATE_WARNING]
    if renderer.options.thinking and not renderer.template.features.reasoning:
        warnings.append(NO_REASONING_WARNING)
    return warnings
