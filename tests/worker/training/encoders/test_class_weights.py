"""Class weights follow scikit-learn's "balanced" rule, and make rare labels learnable."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.utils.class_weight import compute_class_weight

from app.formats import classification as texts
from app.formats import token_classification as entities
from app.recipes.chat import LoraSettings
from tests.worker.conftest import WORDS, words_tokenizer
from tests.worker.training.encoders.conftest import MakeEncoder
from worker.encoding.rows import classification as rows_of_texts
from worker.encoding.rows import token_classification as tagged_rows
from worker.encoding.rows.methods import ROW_METHODS
from worker.encoding.tags import bio_tag_names
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer
from worker.training.encoders import classification, methods, token_classification
from worker.training.encoders.methods import OBJECTIVE_BUILDERS, DataSplit, LossOptions
from worker.training.encoders.model import Encoder, EncoderWeights
from worker.training.micro_batch_limits import MicroBatchLimits

LABELS = ["common"] * 23 + ["rare"] * 2
# These texts are equal except for their labels: by frequency alone the rare label looks like noise.
ALIKE = [texts.to_example({"text": "w1 w2 w3", "label": label}) for label in LABELS[-5:]]
OTHERS = [texts.to_example({"text": f"w{30 + n} w9", "label": "common"}) for n in range(20)]
EXAMPLES = [*OTHERS, *ALIKE]
TOKENIZER = EncoderTokenizer(words_tokenizer(token_types=True), 64)
TASK = rows_of_texts.infer_task(EXAMPLES, 64, TOKENIZER)
LIMITS = MicroBatchLimits(4096)


def build_objective(encoder: Encoder, examples: Any, *, balanced: bool) -> tuple[Any, DataSplit]:
    method = encoder.task.method
    rows = ROW_METHODS[method].build_rows(examples, encoder.task, encoder.tokenizer)
    data = DataSplit(examples, rows)
    return OBJECTIVE_BUILDERS[method](
        encoder, data, None, LIMITS, LossOptions(has_balanced_classes=balanced)
    ), data


def test_single_label_weights_equal_scikit_learns() -> None:
    expected = compute_class_weight("balanced", classes=np.array(TASK.labels), y=LABELS)
    weights = classification.compute_balanced_class_weights(EXAMPLES, TASK)
    assert weights.tolist() == pytest.approx(expected.tolist())


def test_multi_label_weights_equal_scikit_learns_of_each_binary_problem() -> None:
    names = [["often"]] * 6 + [["often", "rare"]] * 2 + [["rare"], []]
    examples = [texts.to_example({"text": "w1", "labels": labels}) for labels in names]
    weights = classification.compute_balanced_class_weights(
        examples, rows_of_texts.infer_task(examples, 64, TOKENIZER)
    )
    for label, weight in zip(("often", "rare"), weights.tolist(), strict=True):
        there = np.array([label in labels for labels in names])
        no, yes = compute_class_weight("balanced", classes=np.array([False, True]), y=there)
        assert weight == pytest.approx(yes / no)
    assert weights.tolist() == pytest.approx([2 / 8, 7 / 3])


def test_the_loss_at_chance_is_the_entropy_of_the_labels_shares() -> None:
    assert classification.compute_chance_loss(EXAMPLES, TASK) == pytest.approx(
        entropy([23 / 25, 2 / 25])
    )


def test_multi_label_weights_are_bounded() -> None:
    names = [["all"]] * 999 + [["all", "once"]]
    examples = [texts.to_example({"text": "w1", "labels": labels}) for labels in names]
    task = EncoderTask(method="classification", labels=("all", "gone", "once"), multi_label=True)
    weights = classification.compute_balanced_class_weights(examples, task)
    assert weights.tolist() == pytest.approx([0.01, 100, 100])


def test_tag_weights_are_the_square_root_of_scikit_learns(make_encoder: MakeEncoder) -> None:
    rows = [{"tokens": WORDS[n : n + 9], "tags": ["O"] * 7 + ["B-x", "I-x"]} for n in range(8)]
    rows.append({"tokens": WORDS[:2], "tags": ["B-y", "I-y"]})
    examples = [entities.to_example(row) for row in rows]
    task = tagged_rows.infer_task(examples, 64, TOKENIZER)
    encoder = make_encoder(task)
    tags = [tag for row in rows for tag in row["tags"]]
    names = bio_tag_names(task.labels)
    expected = compute_class_weight("balanced", classes=np.array(names), y=tags) ** 0.5
    read = tagged_rows.build_rows(examples, task, encoder.tokenizer)
    weights = token_classification.compute_balanced_tag_weights(read, task)
    assert weights.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_a_label_missing_from_the_file_has_a_finite_weight() -> None:
    task = EncoderTask(method="classification", labels=("common", "gone", "rare"))
    weights = classification.compute_balanced_class_weights(EXAMPLES, task)
    assert torch.isfinite(weights).all()


def test_the_loss_weights_each_text_by_its_label(make_encoder: MakeEncoder) -> None:
    encoder = make_encoder(TASK)
    weighted, data = build_objective(encoder, EXAMPLES, balanced=True)
    plain, _ = build_objective(encoder, EXAMPLES, balanced=False)
    weights = classification.compute_balanced_class_weights(EXAMPLES, TASK)
    with torch.no_grad():
        expected = [
            plain.compute_loss([row]).loss * weights[int(row.target[0])] for row in data.rows
        ]
        loss = weighted.compute_loss(data.rows).loss
    assert loss.item() == pytest.approx(torch.stack(expected).sum().item(), rel=1e-4)


@pytest.mark.parametrize("balanced", [False, True])
def test_a_rare_label_is_predicted_with_balanced_weights(
    make_encoder: MakeEncoder, balanced: bool
) -> None:
    encoder = make_encoder(TASK)
    learned, data = build_objective(encoder, EXAMPLES, balanced=balanced)
    trained = EncoderWeights(encoder, "tiny", LoraSettings(rank=4, alpha=8)).parameters().values()
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    for _ in range(40):
        learned.compute_loss(data.rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    recalls = {
        label: row["recall"] for label, row in learned.evaluate(data.rows)["per_label"].items()
    }
    assert recalls["rare"] == (1.0 if balanced else 0.0)
    assert recalls["common"] == pytest.approx(20 / 23 if balanced else 1.0)
    assert methods.num_outputs(TASK) == 2
