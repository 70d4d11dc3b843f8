"""Exports of encoders and classifiers, loaded by the libraries that they are for."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from peft import (
    AutoPeftModelForQuestionAnswering,
    AutoPeftModelForTokenClassification,
    PeftModel,
)
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from tests.worker.conftest import make_texts
from tests.worker.exporting.conftest import export, make_encoder_base, tune_encoder
from worker.encoding.task import EncoderTask
from worker.exporting.errors import UnsupportedExport
from worker.training.encoders.model import Encoder

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
TEXTS = make_texts(3, 9, 5)
TASKS = {
    "classification": EncoderTask(method="classification", labels=("a", "b", "c"), max_length=64),
    "token_classification": EncoderTask(
        method="token_classification", labels=("person", "place"), max_length=64
    ),
    "question_answering": EncoderTask(
        method="question_answering", labels=("start", "end"), max_length=64
    ),
    "embedding": EncoderTask(method="embedding", max_length=64),
}


@torch.no_grad()
def compute_outputs(encoder: Encoder) -> Tensor:
    """What the trainer's model computes for TEXTS: logits or normalized vectors."""
    texts = encoder.tokenizer.tokenize(TEXTS)
    if encoder.task.method == "embedding":
        return torch.nn.functional.normalize(encoder.embed_texts(texts), dim=-1)
    if encoder.task.method == "classification":
        result: Tensor = encoder.head(encoder.embed_texts(texts))
        return result
    hidden, _ = encoder.compute_token_states(texts)
    logits: Tensor = encoder.head(hidden.float())
    return logits


def tokenize(folder: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")


def prepare(tmp_path: Path, method: str, format_: str, model_type: str = "bert") -> tuple[Any, ...]:
    """Tune and export a tiny encoder; returns its folder and the expected outputs."""
    base = make_encoder_base(tmp_path / model_type, model_type)
    encoder = tune_encoder(base, TASKS[method], tmp_path / "adapter")
    expected = compute_outputs(encoder)
    folder = export(base, tmp_path / "adapter", format_, tmp_path / "out", method)
    return folder, expected, encoder


def check(actual: Tensor, expected: Tensor, encoder: Encoder) -> None:
    """Compare outputs, except those of padding."""
    if expected.dim() == 3:
        lengths = [len(text.ids) for text in encoder.tokenizer.tokenize(TEXTS)]
        pairs = zip(actual, expected, lengths, strict=True)
        for one, other, length in pairs:
            torch.testing.assert_close(one[:length], other[:length], atol=1e-4, rtol=0)
        return
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_transformers_loads_a_token_classifier(tmp_path: Path) -> None:
    folder, expected, encoder = prepare(tmp_path, "token_classification", "hf")
    model = AutoModelForTokenClassification.from_pretrained(folder)
    check(model(**tokenize(folder)).logits, expected, encoder)
    assert model.config.id2label == {
        0: "O",
        1: "B-person",
        2: "I-person",
        3: "B-place",
        4: "I-place",
    }


@torch.no_grad()
def test_transformers_loads_a_question_answerer(tmp_path: Path) -> None:
    folder, expected, encoder = prepare(tmp_path, "question_answering", "hf")
    scores = AutoModelForQuestionAnswering.from_pretrained(folder)(**tokenize(folder))
    check(torch.stack([scores.start_logits, scores.end_logits], -1), expected, encoder)


@torch.no_grad()
@pytest.mark.parametrize(
    ("model_type", "pooling", "needs_code"),
    [("modernbert", "mean", False), ("bert", "cls", False), ("bert", "mean", True)],
)
def test_transformers_loads_a_classifier(
    tmp_path: Path,
    model_type: str,
    pooling: str,
    needs_code: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = replace(TASKS["classification"], pooling=pooling)
    monkeypatch.setitem(TASKS, "classification", task)
    folder, expected, encoder = prepare(tmp_path, "classification", "hf", model_type)
    assert bool(list(folder.glob("*.py"))) == needs_code
    assert ("trust_remote_code" in (folder / "README.md").read_text()) == needs_code
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=needs_code)
    check(model(**tokenize(folder)).logits, expected, encoder)
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}


@torch.no_grad()
@pytest.mark.parametrize("method", ["token_classification", "question_answering"])
def test_transformers_loads_a_modernbert(tmp_path: Path, method: str) -> None:
    """Its classes have a dense layer and a norm before their last layer."""
    folder, expected, encoder = prepare(tmp_path, method, "hf", "modernbert")
    auto_class = {
        "token_classification": AutoModelForTokenClassification,
        "question_answering": AutoModelForQuestionAnswering,
    }[method]
    outputs = auto_class.from_pretrained(folder)(**tokenize(folder))
    actual = (
        outputs.logits
        if method == "token_classification"
        else torch.stack([outputs.start_logits, outputs.end_logits], -1)
    )
    check(actual, expected, encoder)


def test_sentence_transformers_loads_an_embedder(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder, expected, encoder = prepare(tmp_path, "embedding", "hf")
    vectors = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, convert_to_tensor=True)
    check(vectors, expected, encoder)


@torch.no_grad()
def test_a_fully_tuned_model_is_exported_whole(tmp_path: Path) -> None:
    base = make_encoder_base(tmp_path / "bert")
    task = EncoderTask(
        method="classification", labels=("a", "b"), tuning="full", multi_label=True, max_length=64
    )
    encoder = tune_encoder(base, task, tmp_path / "adapter")
    expected = compute_outputs(encoder)
    folder = export(base, tmp_path / "adapter", "hf", tmp_path / "out", "classification")
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    check(model(**tokenize(folder)).logits, expected, encoder)
    assert model.config.problem_type == "multi_label_classification"
    with pytest.raises(UnsupportedExport, match="no adapter"):
        export(base, tmp_path / "adapter", "peft", tmp_path / "peft", "classification")


@torch.no_grad()
@pytest.mark.parametrize(
    ("method", "auto_class", "head"),
    [
        ("token_classification", AutoPeftModelForTokenClassification, "classifier"),
        ("question_answering", AutoPeftModelForQuestionAnswering, "qa_outputs"),
    ],
)
def test_peft_loads_an_adapter_with_its_head(
    tmp_path: Path, method: str, auto_class: Any, head: str
) -> None:
    folder, expected, encoder = prepare(tmp_path, method, "peft")
    config = json.loads((folder / "adapter_config.json").read_bytes())
    assert config["modules_to_save"] == [head]
    assert config["base_model_name_or_path"] == "acme/tiny"
    config |= {"base_model_name_or_path": str(tmp_path / "bert"), "revision": None}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    model = auto_class.from_pretrained(folder, num_labels=expected.shape[-1])
    outputs = model(**tokenize(tmp_path / "bert"))
    actual = (
        outputs.logits
        if method == "token_classification"
        else torch.stack([outputs.start_logits, outputs.end_logits], -1)
    )
    check(actual, expected, encoder)


@torch.no_grad()
def test_peft_loads_the_adapter_of_a_classifier_and_its_head_is_beside_it(tmp_path: Path) -> None:
    folder, expected, encoder = prepare(tmp_path, "classification", "peft")
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(tmp_path / "bert"), folder)
    batch = tokenize(tmp_path / "bert")
    mask = batch["attention_mask"][..., None]
    pooled = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
    head = load_file(folder / "head.safetensors")
    check(pooled @ head["weight"].T + head["bias"], expected, encoder)


@pytest.mark.parametrize("method", ["classification", "question_answering"])
def test_onnx_runtime_computes_the_same(tmp_path: Path, method: str) -> None:
    folder, expected, encoder = prepare(tmp_path, method, "onnx")
    batch = {name: tensor.numpy() for name, tensor in tokenize(folder).items()}
    outputs = InferenceSession(folder / "model.onnx").run(None, batch)
    actual = np.stack(outputs, -1) if len(outputs) > 1 else outputs[0]
    check(torch.from_numpy(actual), expected, encoder)
    smaller = InferenceSession(folder / "model_int8.onnx").run(None, batch)[0]
    assert np.abs(smaller - outputs[0]).max() < 0.1 * np.abs(outputs[0]).max()
    graph = onnx.load(folder / "model_int8.onnx").graph
    large = [tensor for tensor in graph.initializer if math.prod(tensor.dims) > 1_000]
    eight_bits = {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    assert {tensor.data_type for tensor in large} <= eight_bits, "embeddings too"
