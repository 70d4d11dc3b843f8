"""Each hyperparameter acts in the training of encoders: a run with it differs from one without."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from app.catalog import CatalogModel, ModelKind
from app.formats import classification as texts
from app.jobs.encoder_option_checks import FULL_TUNING_METHODS
from app.recipes.encoders import TUNING
from tests.worker.conftest import WORDS, words_tokenizer
from worker.encoding.rows import classification as rows_of_texts
from worker.encoding.task import read_task
from worker.encoding.tokenizer import EncoderTokenizer
from worker.modeling import load_adapter
from worker.run_folder import ExitCode, Failed, Metrics, RunFolder, RunSpec, Started
from worker.training.attempt import run_attempt
from worker.training.encoders import classification

pytestmark = pytest.mark.usefixtures("training_settings")

ROWS = [
    {"text": f"{WORDS[n]} {WORDS[n % 7]} w9", "label": "odd" if n % 2 else "even"}
    for n in range(24)
]
TAGGED = [
    {"tokens": [WORDS[n], "w9", WORDS[n + 1]], "tags": ["B-X" if n % 2 else "O", "O", "O"]}
    for n in range(24)
]
MakeRun = Callable[..., RunFolder]


@pytest.fixture
def make(tiny_encoder_folder: Path, tmp_path: Path) -> MakeRun:
    model = CatalogModel(
        id="tiny",
        source=f"path:{tiny_encoder_folder}",
        kind=ModelKind.ENCODER,
        methods=("classification", "token_classification"),
        context_length=16,
    )

    def make(
        name: str = "run",
        *,
        rows: list[dict[str, Any]] = ROWS,
        valid: list[dict[str, Any]] | None = None,
        method: str = "classification",
        **hyperparameters: Any,
    ) -> RunFolder:
        folder = RunFolder(tmp_path / name)
        folder.checkpoints.mkdir(parents=True)
        folder.train_file.write_text("\n".join(map(json.dumps, rows)))
        if valid is not None:
            folder.valid_file.write_text("\n".join(map(json.dumps, valid)))
        folder.write_spec(
            RunSpec(
                job_id=name,
                attempt=1,
                model=model.to_json(),
                model_cache=str(tmp_path / "cache"),
                method=method,
                hyperparameters={"n_epochs": 1, "batch_size": 8, **hyperparameters},
                seed=3,
                base_model=model.id,
                threads=1,
            )
        )
        return folder

    return make


def train(folder: RunFolder) -> Path:
    """Run a job to its end; return its last checkpoint."""
    assert run_attempt(folder) == ExitCode.DONE
    return folder.checkpoint(folder.list_checkpoint_steps()[0])


def find(folder: RunFolder, kind: type[Any]) -> list[Any]:
    return [event for event, _ in folder.read_events() if isinstance(event, kind)]


def resolved(folder: RunFolder) -> dict[str, Any]:
    return dict(find(folder, Started)[-1].hyperparameters)


def differs(checkpoint: Path, other: Path) -> bool:
    ours, theirs = (load_adapter(folder).tensors for folder in (checkpoint, other))
    return any(not torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("method", "chosen"),
    [
        ("classification", {"lora_alpha": 64.0}),
        ("classification", {"lora_dropout": 0.5}),
        ("classification", {"weight_decay": 0.9}),
        ("classification", {"warmup_ratio": 0.9}),
        ("classification", {"lr_schedule": "constant"}),
        ("classification", {"max_grad_norm": 0.001}),
        ("classification", {"label_smoothing": 0.4}),
        ("token_classification", {"label_smoothing": 0.4}),
        ("token_classification", {"weight_decay": 0.9}),
    ],
)
def test_a_run_with_it_differs(make: MakeRun, method: str, chosen: dict[str, Any]) -> None:
    rows = ROWS if method == "classification" else TAGGED
    plain = make("plain", method=method, rows=rows)
    changed = make("changed", method=method, rows=rows, **chosen)
    assert differs(train(plain), train(changed))
    assert chosen.items() <= resolved(changed).items()


def test_the_values_that_auto_stood_for_are_reported(make: MakeRun) -> None:
    """The job shows them once it has begun; 16 tokens are the model's maximum."""
    auto = make(max_length="auto", class_weights="auto", tuning="auto", long_rows="auto")
    train(auto)
    assert {
        "max_length": 16, "class_weights": "none", "tuning": "lora", "long_rows": "truncate",
        "keep": "last", "lora_rank": 16,
    }.items() <= resolved(auto).items()  # fmt: skip
    chosen = make("chosen", max_length=8, class_weights="balanced")
    train(chosen)
    assert {"max_length": 8, "class_weights": "balanced"}.items() <= resolved(chosen).items()


def test_an_adapter_of_some_layers_is_trained_served_and_continued(make: MakeRun) -> None:
    folder = make(lora_rank=3, lora_alpha=7.5, target_modules=["query", "output.dense"])
    checkpoint = train(folder)
    adapter = load_adapter(checkpoint)
    trained = {name.removesuffix(".lora_A.weight") for name in adapter.tensors if "lora_A" in name}
    assert {name.rpartition("layer.1.")[2] for name in trained if "layer.1." in name} == {
        "attention.self.query",
        "attention.output.dense",
        "output.dense",
    }
    assert all(len(adapter.tensors[f"{name}.lora_A.weight"]) == 3 for name in trained)
    assert (adapter.config["lora_alpha"], adapter.scaling) == (7.5, 2.5)
    report = resolved(folder)
    assert (report["lora_rank"], report["lora_alpha"], report["tuning"]) == (3, 7.5, "lora")
    assert report["target_modules"] == ["query", "output.dense"]
    later = make("later")
    later.init_adapter.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (later.init_adapter / name).write_bytes((checkpoint / name).read_bytes())
    continued = load_adapter(train(later))
    assert continued.tensors.keys() == adapter.tensors.keys()
    assert (continued.config["r"], continued.scaling) == (3, 2.5)


def test_the_engine_computes_an_adapter_of_some_layers_as_training_did(make: MakeRun) -> None:
    """`evaluation.json` compares them on the same rows."""
    folder = make(valid=ROWS, target_modules=["query"], n_epochs=8, learning_rate_multiplier=10)
    report = json.loads((train(folder) / "evaluation.json").read_bytes())
    assert report["engine"]["served"] == report["engine"]["trained"] > 0.6


def test_an_unknown_layer_is_a_user_error_that_lists_the_known_ones(make: MakeRun) -> None:
    folder = make(target_modules=["q_proj"])
    assert run_attempt(folder) == ExitCode.USER_ERROR
    (failed,) = find(folder, Failed)
    assert (failed.code, failed.param) == ("invalid_target_modules", "target_modules")
    assert "it has dense, key, query, value" in failed.message


def test_dropout_of_adapters_is_off_in_evaluation(make: MakeRun) -> None:
    still = {"learning_rate_multiplier": 1e-12, "lora_dropout": 0.9, "n_epochs": 2}
    folder = make(valid=ROWS[:8], **still)
    train(folder)
    losses = [
        event.values["full_valid_loss"]
        for event in find(folder, Metrics)
        if "full_valid_loss" in event.values
    ]
    assert len(losses) == 2
    assert losses[0] == pytest.approx(losses[-1], abs=1e-5)


def test_labels_are_smoothed_in_training_only(make: MakeRun) -> None:
    still = {"learning_rate_multiplier": 1e-12}
    plain, smooth = make("plain", valid=ROWS, **still), make("smooth", valid=ROWS, **still)
    smooth = make("smoothed", valid=ROWS, label_smoothing=0.4, **still)
    train(plain)
    train(smooth)
    (valid, valid_smooth), (first, first_smooth) = (
        [find(folder, Metrics)[index].values[name] for folder in (plain, smooth)]
        for index, name in ((-1, "full_valid_loss"), (0, "train_loss"))
    )
    assert valid == pytest.approx(valid_smooth, abs=1e-6)
    assert first != pytest.approx(first_smooth, abs=1e-6)


def test_the_loss_at_chance_is_that_of_smoothed_labels() -> None:
    examples = [texts.to_example({"text": "w1", "label": "ab"[n % 4 == 0]}) for n in range(8)]
    task = rows_of_texts.infer_task(
        examples, 16, EncoderTokenizer(words_tokenizer(token_types=True), 16)
    )
    targets = torch.tensor([task.labels.index(example.labels[0]) for example in examples])
    shares = torch.tensor([0.9 * 0.75 + 0.05, 0.9 * 0.25 + 0.05])
    expected = torch.nn.functional.cross_entropy(
        shares.log().expand(8, 2), targets, label_smoothing=0.1
    )
    assert classification.compute_chance_loss(examples, task, 0.1) == pytest.approx(float(expected))


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_epoch_that_becomes_the_model(make: MakeRun, keep: str) -> None:
    folder = make(valid=ROWS[:1], keep=keep, n_epochs=3)
    checkpoint = train(folder)
    assert resolved(folder)["keep"] == keep
    values = {
        event.step: event.values["valid_accuracy"]
        for event in find(folder, Metrics)
        if "valid_accuracy" in event.values
    }
    best = max(values, key=lambda step: values[step])
    assert best < max(values), "of three results on one row, the last is not better than all others"
    assert differs(checkpoint, folder.checkpoint(best)) == (keep == "last")


class TestLongRows:
    LONG = (4, 9)

    def rows(self) -> list[dict[str, Any]]:
        rows = [dict(row) for row in ROWS]
        for number in self.LONG:
            rows[number]["text"] = " ".join(WORDS[:20])
        rows[self.LONG[1]]["label"] = "only here"
        return rows

    def test_truncated_examples_are_told(self, make: MakeRun) -> None:
        folder = make(rows=self.rows(), max_length=8)
        train(folder)
        assert find(folder, Started)[0].data_warnings == [
            "2 of 24 examples of the training file are longer than 8 tokens: examples 5, 10. They "
            "are truncated, as texts of requests are."
        ]

    def test_dropped_examples_are_told_and_their_labels_stay_known(self, make: MakeRun) -> None:
        folder = make(rows=self.rows(), valid=self.rows(), long_rows="drop", batch_size=1)
        checkpoint = train(folder)
        started = find(folder, Started)[0]
        assert started.total_steps == 22
        assert started.data_warnings[0] == (
            "2 of 24 examples of the training file are longer than 16 tokens: examples 5, 10. They "
            "are left out (long_rows is 'drop')."
        )
        assert "2 of 24 examples of the validation file" in started.data_warnings[1]
        assert read_task(checkpoint).labels == ("even", "odd", "only here")

    @pytest.mark.parametrize("role", ["training_file", "validation_file"])
    def test_an_error_names_them(self, make: MakeRun, role: str) -> None:
        files = {"rows": ROWS, "valid": ROWS[:8]}
        files["rows" if role == "training_file" else "valid"] = self.rows()
        folder = make(long_rows="error", **files)
        assert run_attempt(folder) == ExitCode.USER_ERROR
        (failed,) = find(folder, Failed)
        assert (failed.code, failed.param) == (f"invalid_{role}", role)
        assert "examples 5, 10. Shorten them" in failed.message

    def test_a_file_of_long_examples_alone_is_an_error(self, make: MakeRun) -> None:
        rows = [{"text": " ".join(WORDS[:20]), "label": str(n % 2)} for n in range(12)]
        folder = make(rows=rows, long_rows="drop")
        assert run_attempt(folder) == ExitCode.USER_ERROR
        assert "No example of the training file fits" in find(folder, Failed)[0].message

    def test_numbers_in_warnings_are_those_of_the_file(self, make: MakeRun) -> None:
        rows = [
            {"text": f"{WORDS[n]} ab w9", "entities": [{"start": 0, "end": 3, "label": "X"}]}
            for n in range(10, 12)
        ]
        long = {"text": " ".join(WORDS[:20]), "entities": []}
        cut = {"text": "w3 w55 w9", "entities": [{"start": 3, "end": 5, "label": "X"}]}
        fine = {"text": "w3 w55 w9", "entities": [{"start": 3, "end": 6, "label": "X"}]}
        folder = make(
            rows=[long, *rows, cut, *[fine] * 300],
            method="token_classification",
            long_rows="drop",
            batch_size=100,
        )
        train(folder)
        warnings = find(folder, Started)[0].data_warnings
        assert any("first in number 4" in warning for warning in warnings), warnings


def test_the_api_knows_which_methods_are_tuned_in_full() -> None:
    assert set(FULL_TUNING_METHODS) == {name for name, tuning in TUNING.items() if tuning == "full"}
