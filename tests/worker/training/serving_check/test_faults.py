"""Faults of the engine: an answer that is not as training computed it fails the job."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedTokenizerFast

from app.catalog import CatalogModel, ModelKind
from tests.worker.training.conftest import MakeRun, events, write_rows
from tests.worker.training.serving_check.conftest import (
    SHORT,
    Measured,
    find_comparison,
    find_note,
    use_dtype,
    write_strong_adapter,
)
from worker.comparison_notes import ComparisonNote
from worker.inference import loaded_model, transformers_decoder
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.decoder import PrefillOutput
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.lora import LoraWeights
from worker.inference.native.forward import NativeForward
from worker.inference.native.structs import Layer
from worker.model.rendering import Renderer, RenderingError
from worker.modeling import ADAPTER_CONFIG_FILE, Adapter
from worker.run_folder import ExitCode, Failed, RunFolder, write_manifest
from worker.training import comparison_building
from worker.training.attempt import run_attempt
from worker.training.errors import TrainingError
from worker.training.serving_check.check import check_as_served
from worker.training.serving_check.rows import select_rows
from worker.training.serving_check.trained import TrainedRows

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_settings")]

PREFERENCE = {
    "input": {"messages": [{"role": "user", "content": "7"}]},
    "preferred_output": [{"role": "assistant", "content": "after it comes 8"}],
    "non_preferred_output": [{"role": "assistant", "content": "nothing"}],
}


def test_faults_of_the_engine_are_noticed(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, trained = measured
    report = find_comparison(folder)
    assert (report["asked"], report["metric"], report["verdict"]) == (6, "mean_logprob", "agrees")
    key, message, is_warning = find_note(folder)
    assert (key, is_warning) == (ComparisonNote.AGREES, False)
    assert message.startswith("Served and trained log-probabilities agree: mean")
    assert "answers of the validation file" in message
    for fault in (drop_layer, drop_layer_of_the_adapter, scale_twice, scale_a_little):
        with monkeypatch.context() as patch:
            fault(patch)
            message = require_difference(folder, trained)
        assert f"{report['trained']:.4f} in training" in message, fault.__name__
        assert f"on the same {report['tokens']} tokens" in message


def drop_layer(patch: pytest.MonkeyPatch) -> None:
    prefill = LlamaDecoder.prefill

    def without_last_layer(self: LlamaDecoder, *arguments: Any, **options: Any) -> PrefillOutput:
        forward = self._forward
        name = "_layers" if isinstance(forward, NativeForward) else "_blocks"
        layers = getattr(forward, name)
        kept = layers[:-1]
        # Kernels read an array of ctypes.
        setattr(forward, name, kept if name == "_blocks" else (Layer * len(kept))(*kept))
        try:
            return prefill(self, *arguments, **options)
        finally:
            setattr(forward, name, layers)

    patch.setattr(LlamaDecoder, "prefill", without_last_layer)


def drop_layer_of_the_adapter(patch: pytest.MonkeyPatch) -> None:
    load = LlamaDecoder._load_adapter

    def without_a_layer(self: LlamaDecoder, files: AdapterFiles) -> LoraWeights:
        pairs = load(self, files).pairs
        kept = {name: pair for name, pair in pairs.items() if name[0] != "1"}
        return self._forward.make_adapter(kept)

    patch.setattr(LlamaDecoder, "_load_adapter", without_a_layer)


def scale_twice(patch: pytest.MonkeyPatch) -> None:
    scaling = Adapter.scaling.fget
    assert scaling is not None
    patch.setattr(Adapter, "scaling", property(lambda self: 2 * scaling(self)))


def scale_a_little(patch: pytest.MonkeyPatch) -> None:
    scaling = Adapter.scaling.fget
    assert scaling is not None
    patch.setattr(Adapter, "scaling", property(lambda self: 1.1 * scaling(self)))


def require_difference(folder: RunFolder, trained: TrainedRows) -> str:
    with pytest.raises(TrainingError) as caught:
        check_as_served(folder, trained)
    assert caught.value.exit_code == ExitCode.USER_ERROR
    assert caught.value.event.code == "served_differently"
    assert "report it to the operator" in caught.value.event.message
    return caught.value.event.message


@pytest.mark.parametrize("measured", ["float32"], indirect=True)
def test_a_prompt_that_is_rendered_differently_is_noticed(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, trained = measured
    render = Renderer.render_prompt

    def shifted(self: Renderer, *arguments: Any) -> list[int]:
        ids = render(self, *arguments)
        return [*ids[:5], ids[5], *ids[5:]]

    monkeypatch.setattr(Renderer, "render_prompt", shifted)
    length = trained.rows[0].start
    message = require_difference(folder, trained)
    assert f"example 1 has {length + 1} tokens by the engine and {length} in training" in message

    def refuse(self: Renderer, *_: Any) -> list[int]:
        raise RenderingError("No roles.")

    monkeypatch.setattr(Renderer, "render_prompt", refuse)
    message = require_difference(folder, trained)
    assert "the engine cannot render the prompt of example 1. No roles. This is" in message


def test_modules_that_are_trained_but_not_served_are_noticed(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that the adapter lacks, and one that it has but no engine reads."""
    measure = comparison_building.measure_rows

    def with_trained_head(
        folder: RunFolder, renderer: Renderer, objective: Any, *arguments: Any, **options: Any
    ) -> TrainedRows:
        head: Tensor = objective.model._head
        waves = torch.sin(torch.arange(head.numel())).view_as(head)
        objective.model._head = head + 0.1 * waves.to(head.dtype)
        return measure(folder, renderer, objective, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(comparison_building, "measure_rows", with_trained_head)
        folder = make_run(hyperparameters=SHORT)
        assert run_attempt(folder) == ExitCode.USER_ERROR
    failed = events(folder)[-1]
    assert isinstance(failed, Failed)
    assert failed.code == "served_differently"
    config = folder.checkpoint(3) / ADAPTER_CONFIG_FILE
    config.write_text(json.dumps(json.loads(config.read_text()) | {"modules_to_save": ["lm_head"]}))
    write_manifest(config.parent)
    rows = TrainedRows("training file", select_rows(folder.train_file, renderer_of(folder)))
    assert "whole trained modules" in require_difference(folder, rows)


def renderer_of(folder: RunFolder) -> Renderer:
    spec = folder.read_spec()
    model = CatalogModel.from_json(spec.model)
    return loaded_model.load_model(model, Path(spec.model_cache)).renderer


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")
def test_a_model_of_another_family_is_compared_by_the_decoder_that_serves_it(
    make_run: MakeRun,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_dtype(monkeypatch, torch.float32)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=263, n_positions=128, n_embd=32, n_layer=2, n_head=4, eos_token_id=2
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    model = CatalogModel(
        "gpt2", f"path:{tmp_path / 'gpt2'}", ModelKind.CAUSAL, ("supervised",), 128
    )
    folder = make_run(hyperparameters=SHORT, model=model.to_json())
    write_rows(
        folder.train_file,
        [{"prompt": f"{n} and", "completion": f" {n + 1} is what comes next"} for n in range(12)],
    )
    write_strong_adapter(folder)
    assert run_attempt(folder) == ExitCode.DONE
    assert find_comparison(folder)["mean_difference"] < 1e-4
    monkeypatch.setattr(
        transformers_decoder.TransformersDecoder, "_add_lora", lambda *arguments: arguments[-1]
    )
    assert run_attempt(folder) == ExitCode.USER_ERROR


def test_both_answers_of_preferences_are_compared(make_run: MakeRun) -> None:
    folder = make_run(method="dpo", hyperparameters=SHORT)
    write_rows(folder.train_file, [PREFERENCE] * 3)
    assert run_attempt(folder) == ExitCode.DONE
    assert find_comparison(folder)["asked"] == 6


def test_a_chat_that_begins_with_an_answer_does_not_fail(make_run: MakeRun) -> None:
    folder = make_run(hyperparameters=SHORT)
    answers: Sequence[dict[str, Any]] = [{"role": "assistant", "content": f"{n}"} for n in range(9)]
    write_rows(folder.train_file, [{"messages": [answer]} for answer in answers])
    assert run_attempt(folder) == ExitCode.DONE
    key, message, is_warning = find_note(folder)
    assert (key, is_warning) == (ComparisonNote.NOT_COMPARED, True)
    assert "no answer of the first 64 examples" in message
