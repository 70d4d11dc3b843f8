"""Embedding objectives: negatives and their masking, gradient caching, retrieval metrics."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from app.formats import InvalidTrainingFile
from app.formats.embedding import ScoredTextPair
from tests.worker.conftest import make_texts
from tests.worker.training.encoders.conftest import MakeEncoder
from worker.encoding.rows import embedding as rows_of_pairs
from worker.encoding.rows import similarity
from worker.encoding.rows.embedding import TripletRow
from worker.encoding.rows.methods import ROW_METHODS
from worker.encoding.rows.similarity import ScoredPairRow
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import TokenizedText
from worker.training.encoders import contrastive, embedding, metrics
from worker.training.encoders.model import Encoder
from worker.training.encoders.similarity import CosentObjective
from worker.training.sampler import EpochSampler
from worker.training.validation import Parts, Validation

TASK = EncoderTask(method="embedding", max_length=64)
TEXTS = make_texts(3, 9, 4, 15, 6, 7)


@pytest.fixture
def encoder(make_encoder: MakeEncoder) -> Encoder:
    return make_encoder(TASK)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def build_rows(encoder: Encoder, path: Path, rows: list[dict[str, Any]]) -> list[TripletRow]:
    examples = ROW_METHODS["embedding"].read_examples(write_rows(path, rows))
    assert not isinstance(examples[0], ScoredTextPair)
    return rows_of_pairs.build_rows(examples, TASK, encoder.tokenizer)  # type: ignore[arg-type]


def gradients(encoder: Encoder, rows: Any, objective: Any) -> list[torch.Tensor]:
    """Loss of one batch, followed by the gradients of all weights."""
    score = objective.compute_loss(rows)
    score.loss.backward()
    weight_gradients = [p.grad.clone() for p in encoder.backbone.parameters() if p.grad is not None]
    encoder.zero_grad()
    return [score.loss.detach(), *weight_gradients]


def test_gradient_caching_gives_the_same_loss_and_gradients(
    encoder: Encoder, tmp_path: Path
) -> None:
    pairs = [{"anchor": a, "positive": p} for a, p in zip(TEXTS[::2], TEXTS[1::2], strict=True)]
    rows = build_rows(encoder, tmp_path / "pairs", pairs)
    whole = embedding.EmbeddingObjective(encoder, max_tokens=4096, max_rows=None)
    pieces = embedding.EmbeddingObjective(encoder, max_tokens=20, max_rows=None)
    for actual, cached in zip(
        gradients(encoder, rows, whole), gradients(encoder, rows, pieces), strict=True
    ):
        torch.testing.assert_close(actual, cached, atol=1e-5, rtol=1e-4)
    assert whole.evaluate(rows) == pieces.evaluate(rows)


def test_texts_of_the_same_group_are_not_negatives(encoder: Encoder, tmp_path: Path) -> None:
    """A batch with a single group has no loss: no positive has a competitor."""
    anchor = [{"anchor": TEXTS[0], "positive": text} for text in TEXTS[1:4]]
    positive = [{"anchor": text, "positive": TEXTS[0]} for text in TEXTS[1:4]]
    objective = embedding.EmbeddingObjective(encoder, max_tokens=4096, max_rows=None)
    for rows in (anchor, positive):
        assert objective.compute_loss(build_rows(encoder, tmp_path / "rows", rows)).loss.item() == 0
    negative = [{**row, "negative": TEXTS[5]} for row in positive]
    assert objective.compute_loss(build_rows(encoder, tmp_path / "rows", negative)).loss.item() > 0


def test_misretrieved_texts_are_listed_by_example_number(encoder: Encoder, tmp_path: Path) -> None:
    # The labels contradict the texts: the nearest text always has the other label.
    labels = [("w1 w2 w3", "a"), ("w40 w41", "b"), ("w40 w41 w41", "a"), ("w1 w2 w3 w3", "b")]
    rows = build_rows(encoder, tmp_path / "rows", [{"text": t, "label": n} for t, n in labels])
    report = embedding.EmbeddingObjective(encoder, max_tokens=4096, max_rows=None).evaluate(rows)
    assert report["retrieval_at_1"] == 0
    retrieved = {item["example"]: item["found"] for item in report["wrong"]}
    assert retrieved == {1: 4, 4: 1, 2: 3, 3: 2}


def report(encoder: Encoder, path: Path, rows: list[dict[str, Any]]) -> Any:
    objective = embedding.EmbeddingObjective(encoder, max_tokens=4096, max_rows=None)
    return objective.evaluate(build_rows(encoder, path, rows))


def test_a_text_does_not_retrieve_its_copy(encoder: Encoder, tmp_path: Path) -> None:
    """Most labels occur once, and both texts of a label are each other's positives."""
    texts = [("w1 w2 w3", "a"), ("w40 w41", "a"), ("w1 w2 w3 w3", "b"), ("w40 w41 w41", "c")]
    rows = [{"text": text, "label": label} for text, label in texts]
    evaluation = report(encoder, tmp_path / "rows", rows)
    assert (evaluation["retrieval_at_1"], evaluation["retrieval_at_5"]) == (0, 1)
    assert [(item["example"], item["found"]) for item in evaluation["wrong"]] == [(1, 3), (2, 4)]


def test_a_text_of_several_pairs_is_not_a_mistake(encoder: Encoder, tmp_path: Path) -> None:
    pairs = [{"anchor": "w1 w2 w3", "positive": f"w1 w2 w3 w{n}"} for n in (3, 2)]
    pairs.append({"anchor": "w40 w41", "positive": "w40 w41 w41"})
    assert report(encoder, tmp_path / "rows", pairs)["retrieval_at_1"] > 0.5


def test_copies_of_the_positive_are_masked(encoder: Encoder, tmp_path: Path) -> None:
    """The second row's negative is the first row's positive."""
    pairs = [
        {"anchor": TEXTS[0], "positive": TEXTS[1]},
        {"anchor": TEXTS[2], "positive": TEXTS[3], "negative": TEXTS[1]},
    ]
    rows = build_rows(encoder, tmp_path / "rows", pairs)
    objective = embedding.EmbeddingObjective(encoder, max_tokens=4096, max_rows=None)
    vectors = objective.embed([text for row in rows for text in (row.anchor, row.positive)])
    similarity_matrix = 20 * vectors @ vectors.T
    first = similarity_matrix[0, [1, 3]].log_softmax(0)[0]
    second = similarity_matrix[2, [3, 1, 1]].log_softmax(0)[0]
    assert objective.compute_loss(rows).loss.item() == pytest.approx(
        -(first + second).item(), rel=1e-4
    )


def candidates_by_row(encoder: Encoder, path: Path, rows: list[dict[str, Any]]) -> list[list[int]]:
    """Unmasked candidates of each row: positives by their rows, then negatives."""
    is_unmasked = ~embedding.false_negative_mask(build_rows(encoder, path, rows))
    return [[int(column) for column in row.nonzero()[0]] for row in is_unmasked]


def pairs_of(*letters: str) -> list[dict[str, Any]]:
    """Pairs by letters: "AB" is anchor A with positive B; "ABC" also has the negative C."""
    names = ("anchor", "positive", "negative")
    return [
        {name: TEXTS["ABCDEF".index(letter)] for name, letter in zip(names, row, strict=False)}
        for row in letters
    ]


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        (("AB", "BA"), [[0], [1]]),
        # B is the first row's positive and the second's anchor.
        (("AB", "BC"), [[0, 1], [1]]),
        (("AB", "CA"), [[0], [0, 1]]),
        (("AB", "DC", "AC"), [[0], [0, 1], [2]]),
        # Another row's negative may be this row's anchor or positive.
        (("AB", "CDA"), [[0, 1], [0, 1, 2]]),
        (("AB", "CDB"), [[0, 1], [0, 1, 2]]),
        # A row's own negative stays unmasked, unless it equals the anchor or positive.
        (("ABC", "CB"), [[0, 2], [1]]),
        (("ABA", "CDC"), [[0, 1, 3], [0, 1, 2]]),
        (("ABB", "CDE"), [[0, 1, 3], [0, 1, 2, 3]]),
    ],
)
def test_false_negatives_are_masked(
    encoder: Encoder, tmp_path: Path, letters: tuple[str, ...], expected: list[list[int]]
) -> None:
    assert candidates_by_row(encoder, tmp_path / "rows", pairs_of(*letters)) == expected


def test_the_mask_uses_groups_from_the_whole_file(encoder: Encoder, tmp_path: Path) -> None:
    rows = build_rows(encoder, tmp_path / "rows", pairs_of("AB", "DC", "AC"))
    assert embedding.false_negative_mask(rows[:2]).tolist() == [[False, True], [False, False]]


def test_a52_the_mask_compares_each_two_texts_once(encoder: Encoder, tmp_path: Path) -> None:
    """A text may have as many groups as the file has rows."""
    rows = build_rows(encoder, tmp_path / "rows", pairs_of("AB", "CD"))
    compared: list[int] = []

    class Groups(frozenset[int]):
        def isdisjoint(self, other: Iterable[Any], /) -> bool:
            compared.append(1)
            return super().isdisjoint(other)

    groups = Groups({1}), Groups({2})
    many = [
        dataclasses.replace(row, anchor_groups=groups[0], positive_groups=groups[1])
        for row in rows * 20
    ]
    embedding.false_negative_mask(many)
    assert len(compared) == 1


def test_label_sets_are_unordered_and_empty_ones_are_skipped(
    encoder: Encoder, tmp_path: Path
) -> None:
    labels = [["a", "b"], [], ["b", "a"], [], ["b"]]
    rows = [{"text": text, "labels": names} for text, names in zip(TEXTS, labels, strict=False)]
    triplets = build_rows(encoder, tmp_path / "rows", rows)
    assert sorted(row.example_index for row in triplets) == [0, 2, 4]
    by_source = {row.example_index: row for row in triplets}
    assert by_source[0].anchor_groups == by_source[2].anchor_groups
    assert by_source[0].anchor_groups.isdisjoint(by_source[4].anchor_groups)
    unlabelled = [{"text": text, "labels": []} for text in TEXTS]
    with pytest.raises(InvalidTrainingFile, match="No text has a label"):
        ROW_METHODS["embedding"].read_examples(write_rows(tmp_path / "bare", unlabelled))


def test_a_validation_embeds_each_text_once(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loss and its metrics are computed of the same vectors, though all texts are in pairs."""
    labels = [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(TEXTS)]
    rows = build_rows(encoder, tmp_path / "rows", labels)
    objective = embedding.EmbeddingObjective(encoder, max_tokens=4096, max_rows=None)
    expected = objective.evaluate(rows)
    embedded: list[TokenizedText] = []
    embed_texts = encoder.embed_texts

    def embed_and_count(texts: Sequence[TokenizedText]) -> torch.Tensor:
        embedded.extend(texts)
        return embed_texts(texts)

    monkeypatch.setattr(encoder, "embed_texts", embed_and_count)
    with torch.no_grad():
        parts = [(p, objective.compute_loss(p).take_outputs()) for p in objective.split(rows)]
    assert objective.measure(parts) == expected
    assert len(embedded) == len(TEXTS)


@pytest.mark.parametrize("max_measured_rows", [1, 2, 100])
def test_vectors_of_a_large_file_are_not_all_kept(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_measured_rows: int
) -> None:
    """Texts whose vectors were not kept are embedded again, with the same metrics."""
    monkeypatch.setattr(contrastive, "MAX_ROWS", 2)
    rows = build_rows(encoder, tmp_path / "rows", pairs_of("AB", "CD", "EF", "DA", "FC"))
    objective = embedding.EmbeddingObjective(encoder, max_tokens=4096, max_rows=None)
    kept: list[int] = []

    def measure(parts: Parts[TripletRow]) -> dict[str, float]:
        kept.extend(len(part) for part, outputs in parts if outputs is not None)
        return metrics.scalar_metrics(objective.measure(parts))

    sampler = EpochSampler(rows, batch_size=2, n_epochs=1, seed=0)
    validation = Validation(rows, objective, sampler, 9, measure, max_measured_rows)
    values = validation.compute_metrics(1, full=True, stop=None)
    assert sum(kept) == {1: 2, 2: 2, 100: 5}[max_measured_rows]
    for name, value in metrics.scalar_metrics(objective.evaluate(rows)).items():
        assert values[f"valid_{name}"] == pytest.approx(value), name


def scored_rows(encoder: Encoder, scores: list[float]) -> list[ScoredPairRow]:
    examples = [
        ScoredTextPair(TEXTS[n], TEXTS[(n + 1) % len(TEXTS)], score)
        for n, score in enumerate(scores)
    ]
    return similarity.build_rows(examples, encoder.tokenizer)


def test_the_order_of_scores_is_learned(encoder: Encoder) -> None:
    rows = scored_rows(encoder, [0.5, 3, 1])
    objective = CosentObjective(encoder, max_tokens=4096, max_rows=None)
    a, b, c = objective._compute_cosines(rows).tolist()
    # By score b is above c and a, and c is above a.
    terms = torch.tensor([0, 20 * (a - b), 20 * (c - b), 20 * (a - c)])
    score = objective.compute_loss(rows)
    assert score.loss.item() / 3 == pytest.approx(terms.logsumexp(0).item(), rel=1e-4)
    optimizer = torch.optim.AdamW(encoder.backbone.parameters(), lr=1e-2)
    for _ in range(20):
        loss = objective.compute_loss(rows).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < score.loss.item() / 2
    assert objective.evaluate(rows)["spearman"] == pytest.approx(1)


def test_the_order_of_the_largest_scores_is_learned_too(encoder: Encoder) -> None:
    objective = CosentObjective(encoder, max_tokens=4096, max_rows=None)
    small, large = (
        objective.compute_loss(scored_rows(encoder, scores)).loss.item()
        for scores in ([0.5, 3.0, 1.0], [1e307, 1.7e308, 1e308])
    )
    assert large == small


def test_equal_scores_give_no_loss_and_no_error(encoder: Encoder) -> None:
    objective = CosentObjective(encoder, max_tokens=4096, max_rows=None)
    rows = scored_rows(encoder, [1, 1])
    score = objective.compute_loss(rows)
    score.loss.backward()
    assert score.loss.item() == 0
    assert "spearman" not in objective.evaluate(rows)


def test_retrieval_in_a_large_file_uses_its_first_pairs(encoder: Encoder, tmp_path: Path) -> None:
    """A pool of anchors alone would have nothing to retrieve."""
    words = [
        f"w{first} w{second} w{third}" for first, second, third in product(range(28), repeat=3)
    ]
    pairs = [{"anchor": text, "positive": f"{text} w59"} for text in words]
    rows = build_rows(encoder, tmp_path / "pairs", pairs)
    candidates = embedding.retrieval_candidates(rows)
    assert len(rows) > embedding.MAX_COMPARED_TEXTS == len(candidates)
    assert len(
        metrics.indices_with_positive([candidate.groups for candidate in candidates])
    ) == len(candidates)
