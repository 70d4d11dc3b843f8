"""Rows and tokens of an epoch, counted in rendered rows."""

from typing import Any

from app.catalog import CatalogModel, ModelKind
from app.formats import FormatName
from app.job_estimates.workload import Workload, count_workload
from app.training_data.rendering import RowRendering
from app.training_data.statistics import MeasuredRows
from app.wire.training_rows import RenderedRow, RowSequence, SequenceRole

BASE = CatalogModel("base", "path:/nowhere", ModelKind.CAUSAL, (), 100)


def sequence(tokens: int, loss: int, role: SequenceRole = SequenceRole.ROW) -> RowSequence:
    return RowSequence(
        role=role, token_count=tokens, loss_token_count=loss, is_truncated=False, segments=[]
    )


def count(
    method: str,
    *rows: list[RowSequence],
    format: FormatName = FormatName.CHAT,
    scale: float = 1,
    **options: Any,
) -> Workload:
    rendered = [RenderedRow(is_learned=True, sequences=row) for row in rows]
    # Left out.
    rendered.append(RenderedRow(is_learned=False, sequences=[sequence(50, 50)]))
    rendering = RowRendering(BASE, method, format)
    return count_workload(MeasuredRows(rendering, 100, rendered, [], scale), method, **options)


def test_sequences_of_chats_without_loss_are_no_rows() -> None:
    work = count("supervised", [sequence(60, 10), sequence(30, 0)], [sequence(20, 5)])
    assert work == Workload(rows=2, tokens=80, computed_tokens=80, longest=60)


def test_a_sample_stands_for_the_file() -> None:
    work = count("supervised", [sequence(60, 10)], [sequence(20, 5)], scale=50)
    assert work == Workload(rows=100, tokens=4000, computed_tokens=4000, longest=60)


def test_packs_are_filled_as_in_training() -> None:
    """Rows of 60 tokens fill a sequence of 100 alone, though all fit into three by their sum."""
    rows = [[sequence(60, 10)] for _ in range(5)]
    assert count("supervised", *rows, packs=True).rows == 5
    assert count("supervised", *rows, *([[sequence(41, 9)]] * 5), packs=True).rows == 5


def test_the_input_of_a_pair_goes_through_the_model_once() -> None:
    pair = [sequence(50, 10, SequenceRole.CHOSEN), sequence(70, 30, SequenceRole.REJECTED)]
    assert count("dpo", pair) == Workload(rows=1, tokens=120, computed_tokens=80, longest=80)


def test_windows_of_a_context_are_rows_of_their_own() -> None:
    windows = [sequence(64, 1, SequenceRole.WINDOW), sequence(64, 0, SequenceRole.WINDOW)]
    assert count("question_answering", windows).rows == 2


def test_texts_that_are_embedded_belong_together() -> None:
    pair = [sequence(9, 0, SequenceRole.ANCHOR), sequence(11, 0, SequenceRole.POSITIVE)]
    work = count("embedding", pair, format=FormatName.EMBEDDING)
    assert (work.rows, work.tokens, work.longest) == (1, 20, 20)
    # Each is embedded with another text of its label.
    text = [sequence(10, 0, SequenceRole.ANCHOR)]
    work = count("embedding", text, text, format=FormatName.CLASSIFICATION)
    assert (work.rows, work.tokens) == (2, 40)
