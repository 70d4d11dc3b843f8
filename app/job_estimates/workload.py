"""The rows and tokens of an epoch, counted in the rendered rows of a file's sample."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.formats import FormatName
from app.recipes.packing import plan_packs
from app.training_data.statistics import MeasuredRows
from app.wire.training_rows import RenderedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Rows of an epoch and their tokens; `longest` is the longest row's.

    A row is what a batch counts: a sequence, a pair, or several sequences that are packed. Of the
    `tokens`, `computed_tokens` go through the model: the input of a pair does so once.
    """

    rows: int
    tokens: int
    computed_tokens: int
    longest: int


def count_workload(measured: MeasuredRows, method: str, *, packs: bool = False) -> Workload:
    """Count the rows and tokens of an epoch, estimated if the file was not measured as a whole."""
    items = [item for row in measured.learned for item in _list_items(measured, row, method)]
    rows = len(items)
    if packs:
        # A row's last token is predicted, and does not go through the model.
        lengths = [max(1, computed - 1) for _, computed in items]
        rows = len(plan_packs(lengths, measured.max_tokens))
    return Workload(
        rows=round(measured.scale * rows),
        tokens=round(measured.scale * sum(tokens for tokens, _ in items)),
        computed_tokens=round(measured.scale * sum(computed for _, computed in items)),
        longest=max((computed for _, computed in items), default=0),
    )


def _list_items(measured: MeasuredRows, row: RenderedRow, method: str) -> Iterator[tuple[int, int]]:
    """List the tokens of an example's rows, each with those that go through the model."""
    tokens = sum(sequence.token_count for sequence in row.sequences)
    if method in ("supervised", "question_answering"):
        for sequence in row.sequences:
            if sequence.loss_token_count or method != "supervised":
                yield sequence.token_count, sequence.token_count
    elif method == "dpo":
        shared = min(each.token_count - each.loss_token_count for each in row.sequences)
        yield tokens, tokens - shared
    elif _is_paired(measured, method):
        yield 2 * tokens, 2 * tokens
    else:
        yield tokens, tokens


def _is_paired(measured: MeasuredRows, method: str) -> bool:
    """True if each labelled text is embedded with another one of its label."""
    return method == "embedding" and measured.rendering.format == FormatName.CLASSIFICATION
