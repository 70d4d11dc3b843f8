"""The rows that an engine shows are those that training puts into its batches, token for token."""

from pathlib import Path
from typing import Any

import pytest
import torch

from app.wire.long_rows import LongRowPolicy
from app.wire.training_rows import (
    RenderedRow,
    RenderTrainingRowsRequest,
    RowSequence,
    SegmentSplit,
)
from tests.worker.training.conftest import MakeRun, chat, write_rows
from tests.worker.training.test_dpo import preference
from worker.inference.training_rows.chats import ChatRows
from worker.inference.vocabulary import Vocabulary
from worker.model.generation_config import read_generation_config
from worker.model.rendering import Renderer
from worker.modeling import load_tokenizer
from worker.run_folder import RunFolder
from worker.training.batching import Row, collate
from worker.training.builder import build_training_loop
from worker.training.environment import StopSignal

pytestmark = pytest.mark.usefixtures("training_settings")

MULTI_TURN = {
    "messages": [
        {"role": "user", "content": "one 日本"},
        {"role": "assistant", "content": "two", "weight": 0},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "four €"},
    ]
}
COMPLETION = {"prompt": "Once upon ", "completion": "a time."}
LONG = {"messages": [{"role": "user", "content": "n" * 300}, MULTI_TURN["messages"][3]]}


def build_rows(folder: RunFolder) -> list[Any]:
    """The rows of a run, as training has them in memory."""
    loop, _ = build_training_loop(folder, folder.read_spec(), StopSignal(folder))
    return list(loop.sampler.rows)


def render(
    folder: Path, format: str, rows: list[dict[str, Any]], **options: Any
) -> tuple[Vocabulary, list[RenderedRow]]:
    """Render rows as an engine does, a segment per token."""
    tokenizer = load_tokenizer(folder)
    renderer = Renderer(tokenizer, 512, eos_ids=read_generation_config(folder).eos_ids)
    values = {"model": "tiny", "method": "supervised", "split": SegmentSplit.TOKEN, **options}
    request = RenderTrainingRowsRequest(format=format, rows=rows, **values)
    return Vocabulary(tokenizer), ChatRows(renderer, request).render().data


def check_equal(vocabulary: Vocabulary, sequence: RowSequence, row: Row) -> None:
    ids = row.ids.tolist()
    assert sequence.token_count == len(ids) == len(sequence.segments)
    text = b"".join(map(vocabulary.token_bytes, ids)).decode()
    assert "".join(segment.text for segment in sequence.segments) == text
    positions = [place for place, segment in enumerate(sequence.segments) if segment.has_loss]
    assert positions == row.label_positions.tolist()
    # The micro-batch predicts just these tokens.
    batch = collate([row], torch.device("cpu"))
    assert batch.labels.tolist() == [ids[place] for place in positions]
    assert sequence.loss_token_count == len(batch.labels)


@pytest.mark.parametrize("max_tokens", [512, 60])
def test_chats_have_the_tokens_and_labels_of_training(
    make_run: MakeRun, tiny_folder: Path, max_tokens: int
) -> None:
    rows = [*(chat(number) for number in range(11)), MULTI_TURN]
    folder = make_run(hyperparameters={"max_seq_length": max_tokens})
    write_rows(folder.train_file, rows)
    vocabulary, shown = render(tiny_folder, "chat", rows, max_tokens=max_tokens)
    learned = [sequence for row in shown if row.is_learned for sequence in row.sequences]
    trained = build_rows(folder)
    assert len(learned) == len(trained) > 0
    for sequence, row in zip(learned, trained, strict=True):
        check_equal(vocabulary, sequence, row)


def test_completions_have_the_tokens_and_labels_of_training(
    make_run: MakeRun, tiny_folder: Path
) -> None:
    folder = make_run()
    write_rows(folder.train_file, [COMPLETION] * 12)
    vocabulary, shown = render(tiny_folder, "completion", [COMPLETION])
    learned = [segment.text for segment in shown[0].sequences[0].segments if segment.has_loss]
    assert "".join(learned) == "a time.<|im_end|>"
    check_equal(vocabulary, shown[0].sequences[0], build_rows(folder)[0])


def test_pairs_have_the_tokens_and_labels_of_training(make_run: MakeRun, tiny_folder: Path) -> None:
    rows = [preference(number) for number in range(12)]
    rows[4]["non_preferred_output"] = rows[4]["preferred_output"]
    folder = make_run(method="dpo")
    write_rows(folder.train_file, rows)
    vocabulary, shown = render(tiny_folder, "preference", rows, method="dpo")
    assert [row.is_learned for row in shown].count(False) == 1
    assert "Both outputs are the same" in (shown[4].note or "")
    learned = [row for row in shown if row.is_learned]
    for row, pair in zip(learned, build_rows(folder), strict=True):
        chosen, rejected = row.sequences
        check_equal(vocabulary, chosen, pair.chosen)
        check_equal(vocabulary, rejected, pair.rejected)


@pytest.mark.parametrize(
    ("policy", "note"),
    [
        (LongRowPolicy.TRUNCATE, "0 of 1 answers are learned. 1 do not fit as a whole."),
        (LongRowPolicy.DROP, "It is longer than 60 tokens. It is left out"),
        (LongRowPolicy.ERROR, "It is longer than 60 tokens. The job would fail"),
    ],
)
def test_long_rows_are_left_out_as_in_training(
    make_run: MakeRun, tiny_folder: Path, policy: LongRowPolicy, note: str
) -> None:
    rows: list[dict[str, Any]] = [LONG]
    _, shown = render(tiny_folder, "chat", rows, max_tokens=60, long_rows=policy)
    assert not shown[0].is_learned
    assert (shown[0].note or "").startswith(note)
    assert shown[0].fails_job == (policy == LongRowPolicy.ERROR)
    folder = make_run(hyperparameters={"max_seq_length": 60, "long_rows": "truncate"})
    short = {"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]}
    write_rows(folder.train_file, [LONG, *([short] * 11)])
    assert len(build_rows(folder)) == 11


@pytest.mark.parametrize("policy", [LongRowPolicy.DROP, LongRowPolicy.ERROR])
def test_pairs_that_are_too_long_fail_the_job_where_they_are_errors(
    tiny_folder: Path, policy: LongRowPolicy
) -> None:
    options: dict[str, Any] = {"method": "dpo", "max_tokens": 20, "long_rows": policy}
    _, shown = render(tiny_folder, "preference", [preference(1)], **options)
    assert (shown[0].is_learned, shown[0].fails_job) == (False, policy == LongRowPolicy.ERROR)


def test_texts_are_split_where_the_loss_begins_and_ends(tiny_folder: Path) -> None:
    _, shown = render(tiny_folder, "chat", [MULTI_TURN], split=SegmentSplit.LOSS)
    segments = shown[0].sequences[0].segments
    assert [segment.has_loss for segment in segments] == [False, True, False]
    assert segments[1].text == "four €<|im_end|>"
    assert segments[0].text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n")
    assert "日本" in segments[0].text
