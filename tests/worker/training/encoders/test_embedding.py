"""Embeddings: what is held against what, in one piece or in many, and what went astray."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from app.formats import InvalidTrainingFile
from app.formats.embedding import ScoredTextPair
from tests.worker.conftest import make_texts
from tests.worker.training.encoders.conftest import MakeEncoder
from worker.encoding.task import EncoderTask
from worker.training.encoders import embedding, metrics, similarity
from worker.training.encoders.data_warnings import dataset_warnings
from worker.training.encoders.model import Encoder
from worker.training.encoders.similarity import CosentObjective

TASK = EncoderTask(method="embedding", max_length=64)
TEXTS = make_texts(3, 9, 4, 15, 6, 7)


@pytest.fixture
def encoder(make_encoder: MakeEncoder) -> Encoder:
    return make_encoder(TASK)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def triples(encoder: Encoder, path: Path, rows: list[dict[str, Any]]) -> list[embedding.TripletRow]:
    examples = embedding.read_examples(write(path, rows))
    assert not isinstance(examples[0], ScoredTextPair)
    return embedding.build_rows(examples, TASK, encoder.tokenizer)  # type: ignore[arg-type]


def gradients(encoder: Encoder, rows: Any, objective: Any) -> list[torch.Tensor]:
    """Of one batch, as one list for all weights."""
    score = objective.compute_loss(rows)
    score.loss.backward()
    found = [p.grad.clone() for p in encoder.backbone.parameters() if p.grad is not None]
    encoder.zero_grad()
    return [score.loss.detach(), *found]


def test_pieces_give_the_loss_and_gradients_of_the_whole(encoder: Encoder, tmp_path: Path) -> None:
    pairs = [{"anchor": a, "positive": p} for a, p in zip(TEXTS[::2], TEXTS[1::2], strict=True)]
    rows = triples(encoder, tmp_path / "pairs", pairs)
    whole = embedding.EmbeddingObjective(encoder, max_tokens=4096, max_rows=None)
    pieces = embedding.EmbeddingObjective(encoder, max_tokens=20, max_rows=None)
    for one, other in zip(
        gradients(encoder, rows, whole), gradients(encoder, rows, pieces), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert whole.evaluate(rows) == pieces.evaluate(rows)


def test_what_means_the_same_is_no_negative(encoder: Encoder, tmp_path: Path) -> None:
    """A batch of which all rows are alike teaches nothing: each positive has no rival."""
    anchor = [{"anchor": TEXTS[0], "positive": text} for text in TEXTS[1:4]]
    positive = [{"anchor": text, "positive": TEXTS[0]} for text in TEXTS[1:4]]
    objective = embedding.EmbeddingObjective(encoder, max_tokens=4096, max_rows=None)
    for rows in (anchor, positive):
        assert objective.compute_loss(triples(encoder, tmp_path / "rows", rows)).loss.item() == 0
    negative = [{**row, "negative": TEXTS[5]} for row in positive]
    assert objective.compute_loss(triples(encoder, tmp_path / "rows", negative)).loss.item() > 0


def test_texts_that_went_astray_are_named_by_their_place_in_the_file(
    encoder: Encoder, tmp_path: Path
) -> None:
    # The labels are at odds with the texts: each text's likeliest is of the other label.
    labels = [("w1 w2 w3", "a"), ("w40 w41", "b"), ("w40 w41 w41", "a"), ("w1 w2 w3 w3", "b")]
    rows = triples(encoder, tmp_path / "rows", [{"text": t, "label": n} for t, n in labels])
    report = embedding.EmbeddingObjective(encoder, max_tokens=4096, max_rows=None).evaluate(rows)
    assert report["retrieval_at_1"] == 0
    found = {one["example"]: one["found"] for one in report["wrong"]}
    assert found == {1: 4, 4: 1, 2: 3, 3: 2}


def report(encoder: Encoder, path: Path, rows: list[dict[str, Any]]) -> Any:
    objective = embedding.EmbeddingObjective(encoder, max_tokens=4096, max_rows=None)
    return objective.evaluate(triples(encoder, path, rows))


def test_a_text_is_not_found_by_its_copy(encoder: Encoder, tmp_path: Path) -> None:
    """Most labels are there once, and each text is the other's positive too."""
    texts = [("w1 w2 w3", "a"), ("w40 w41", "a"), ("w1 w2 w3 w3", "b"), ("w40 w41 w41", "c")]
    rows = [{"text": text, "label": label} for text, label in texts]
    found = report(encoder, tmp_path / "rows", rows)
    assert (found["retrieval_at_1"], found["retrieval_at_5"]) == (0, 1)
    assert [(one["example"], one["found"]) for one in found["wrong"]] == [(1, 3), (2, 4)]


def test_a_text_of_several_pairs_is_not_mistaken_for_another(
    encoder: Encoder, tmp_path: Path
) -> None:
    pairs = [{"anchor": "w1 w2 w3", "positive": f"w1 w2 w3 w{n}"} for n in (3, 2)]
    pairs.append({"anchor": "w40 w41", "positive": "w40 w41 w41"})
    assert report(encoder, tmp_path / "rows", pairs)["retrieval_at_1"] > 0.5


def test_a_positive_is_held_against_no_copy_of_itself(encoder: Encoder, tmp_path: Path) -> None:
    """The second row's negative is what the first row's anchor shall lie near."""
    pairs = [
        {"anchor": TEXTS[0], "positive": TEXTS[1]},
        {"anchor": TEXTS[2], "positive": TEXTS[3], "negative": TEXTS[1]},
    ]
    rows = triples(encoder, tmp_path / "rows", pairs)
    objective = embedding.EmbeddingObjective(encoder, max_tokens=4096, max_rows=None)
    vectors = objective.embed([text for row in rows for text in (row.anchor, row.positive)])
    near = 20 * vectors @ vectors.T
    first = near[0, [1, 3]].log_softmax(0)[0]
    second = near[2, [3, 1, 1]].log_softmax(0)[0]
    assert objective.compute_loss(rows).loss.item() == pytest.approx(
        -(first + second).item(), rel=1e-4
    )


def negatives(encoder: Encoder, path: Path, rows: list[dict[str, Any]]) -> list[list[int]]:
    """For each row what it is held against: positives by their rows, then negatives."""
    held = ~embedding.false_negative_mask(triples(encoder, path, rows))
    return [[int(place) for place in row.nonzero()[0]] for row in held]


def pairs_of(*letters: str) -> list[dict[str, Any]]:
    """ "AB" is the anchor A with the positive B; "ABC" has a negative, too."""
    names = ("anchor", "positive", "negative")
    return [
        {name: TEXTS["ABCDEF".index(letter)] for name, letter in zip(names, row, strict=False)}
        for row in letters
    ]


@pytest.mark.parametrize(
    ("letters", "held"),
    [
        (("AB", "BA"), [[0], [1]]),
        # B is the first row's positive and the second's anchor.
        (("AB", "BC"), [[0, 1], [1]]),
        (("AB", "CA"), [[0], [0, 1]]),
        (("AB", "DC", "AC"), [[0], [0, 1], [2]]),
        # Another row's negative may be this row's anchor, or what it shall lie near.
        (("AB", "CDA"), [[0, 1], [0, 1, 2]]),
        (("AB", "CDB"), [[0, 1], [0, 1, 2]]),
        # A row's own negative is one, though both mean B; nobody can be far from himself.
        (("ABC", "CB"), [[0, 2], [1]]),
        (("ABA", "CDC"), [[0, 1, 3], [0, 1, 2]]),
        (("ABB", "CDE"), [[0, 1, 3], [0, 1, 2, 3]]),
    ],
)
def test_a_text_is_held_against_none_that_means_the_same(
    encoder: Encoder, tmp_path: Path, letters: tuple[str, ...], held: list[list[int]]
) -> None:
    assert negatives(encoder, tmp_path / "rows", pairs_of(*letters)) == held


def test_what_the_file_says_elsewhere_counts_in_each_batch(
    encoder: Encoder, tmp_path: Path
) -> None:
    rows = triples(encoder, tmp_path / "rows", pairs_of("AB", "DC", "AC"))
    assert embedding.false_negative_mask(rows[:2]).tolist() == [[False, True], [False, False]]


def test_labels_are_the_same_in_any_order_and_none_is_no_label(
    encoder: Encoder, tmp_path: Path
) -> None:
    labels = [["a", "b"], [], ["b", "a"], [], ["b"]]
    rows = [{"text": text, "labels": names} for text, names in zip(TEXTS, labels, strict=False)]
    found = triples(encoder, tmp_path / "rows", rows)
    assert sorted(row.example_index for row in found) == [0, 2, 4]
    by_source = {row.example_index: row for row in found}
    assert by_source[0].anchor_groups == by_source[2].anchor_groups
    assert by_source[0].anchor_groups.isdisjoint(by_source[4].anchor_groups)
    bare = [{"text": text, "labels": []} for text in TEXTS]
    with pytest.raises(InvalidTrainingFile, match="No text has a label"):
        embedding.read_examples(write(tmp_path / "bare", bare))


def test_labelled_texts_of_both_files_are_noted(encoder: Encoder, tmp_path: Path) -> None:
    """Whatever other text of its label each was paired with."""
    known = [{"text": f"w{n} w{n + 1}", "label": f"{n % 2}"} for n in range(40)]
    new = [{"text": f"w{n} w{n + 2}", "label": f"{n % 2}"} for n in range(10)]
    train = triples(encoder, tmp_path / "train", known)
    valid = triples(encoder, tmp_path / "valid", new + known[::4])
    (note,) = dataset_warnings(train, valid, TASK)
    assert note.startswith("10 of 20 examples of the validation file are also in the training file")
    # Of pairs, only the same pair.
    pairs = triples(encoder, tmp_path / "pairs", pairs_of("AB", "CD"))
    (note,) = dataset_warnings(
        pairs, triples(encoder, tmp_path / "held", pairs_of("AB", "CB")), TASK
    )
    assert note.startswith("1 of 2 examples")


def scored(encoder: Encoder, scores: list[float]) -> list[similarity.ScoredPairRow]:
    examples = [
        ScoredTextPair(TEXTS[n], TEXTS[(n + 1) % len(TEXTS)], score)
        for n, score in enumerate(scores)
    ]
    return similarity.build_rows(examples, encoder.tokenizer)


def test_scores_are_learned_by_their_order(encoder: Encoder) -> None:
    rows = scored(encoder, [0.5, 3, 1])
    objective = CosentObjective(encoder, max_tokens=4096, max_rows=None)
    a, b, c = objective._cosines(rows).tolist()
    # b shall be above c and a, and c above a.
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


def test_rows_of_one_score_teach_nothing_and_break_nothing(encoder: Encoder) -> None:
    objective = CosentObjective(encoder, max_tokens=4096, max_rows=None)
    rows = scored(encoder, [1, 1])
    score = objective.compute_loss(rows)
    score.loss.backward()
    assert score.loss.item() == 0
    assert "spearman" not in objective.evaluate(rows)


def test_of_more_pairs_than_are_compared_the_first_are_measured(
    encoder: Encoder, tmp_path: Path
) -> None:
    """A pool of anchors alone would have nothing to find."""
    words = [
        f"w{first} w{second} w{third}" for first, second, third in product(range(28), repeat=3)
    ]
    pairs = [{"anchor": text, "positive": f"{text} w59"} for text in words]
    rows = triples(encoder, tmp_path / "pairs", pairs)
    found = embedding.retrieval_candidates(rows)
    assert len(rows) > embedding.MAX_COMPARED_TEXTS == len(found)
    assert len(metrics.indices_with_positive([one.groups for one in found])) == len(found)
