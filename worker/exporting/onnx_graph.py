"""Encoders and classifiers as ONNX graphs, in float32 and with weights of 8 bits."""

import json
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from worker.encoding.backbone import l2_normalize
from worker.encoding.pooling import pool
from worker.exporting.encoder_model import EncoderModel, load_encoder
from worker.exporting.encoders import output_names
from worker.exporting.source import ExportSource

MODEL_FILE = "model.onnx"
INT8_FILE = "model_int8.onnx"
# The newest that ONNX Runtime has supported for years; the exporter implements it natively.
OPSET = 18


class _Graph(nn.Module):
    """Graph from token ids and mask to logits, or to a normalized vector."""

    def __init__(self, model: EncoderModel) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.head
        self._method = model.task.method
        self._pooling = model.task.pooling

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        states = self.backbone(**inputs).last_hidden_state.float()
        if self._method == "question_answering":
            assert self.head is not None
            start, end = self.head(states).unbind(-1)
            return start, end
        if self._method == "token_classification":
            assert self.head is not None
            return (self.head(states),)
        pooled = pool(states, attention_mask, self._pooling)
        return (l2_normalize(pooled) if self.head is None else self.head(pooled),)


def write_onnx(source: ExportSource, output: Path) -> str:
    """Write both graphs and the tokenizer; returns how to load them."""
    # Both are slow to import, and only this format needs them.
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = load_encoder(source)
    model.tokenizer.save_pretrained(output)
    _export(model, output / MODEL_FILE)
    logging.getLogger().setLevel(logging.ERROR)
    quantize_dynamic(
        output / MODEL_FILE,
        output / INT8_FILE,
        weight_type=QuantType.QInt8,
        per_channel=True,
        # Seven bits: products of eight overflow on processors without VNNI.
        reduce_range=True,
        # Gather: half of a small encoder's weights are its token embeddings.
        op_types_to_quantize=["MatMul", "Gemm", "Gather"],
        extra_options={"MatMulConstBOnly": True},
    )
    _write_config(model, output)
    return _explain(model)


def _export(model: EncoderModel, path: Path) -> None:
    has_types = "token_type_ids" in model.tokenizer.model_input_names
    ids = torch.ones(2, 8, dtype=torch.long)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if has_types:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Graph(model),
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=list(output_names(model.task)),
            dynamic_shapes={
                name: {0: batch, 1: length} if name in inputs else None
                for name in ("input_ids", "attention_mask", "token_type_ids")
            },
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )


def _write_config(model: EncoderModel, output: Path) -> None:
    """Write the labels of the outputs, in the order of the graph's last axis."""
    config = {
        "model_type": model.backbone.config.model_type,
        "task": model.task.method,
        "id2label": dict(enumerate(model.labels)),
        "multi_label": model.task.multi_label,
        "max_length": model.tokenizer.model_max_length,
    }
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _explain(model: EncoderModel) -> str:
    outputs = ", ".join(output_names(model.task))
    return f"""```python
from onnxruntime import InferenceSession
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
session = InferenceSession("FOLDER/{MODEL_FILE}")
inputs = tokenizer(["A text."], padding=True, truncation=True, return_tensors="np")
{outputs}{"," if "," not in outputs else ""} = session.run(None, dict(inputs))
```

`{INT8_FILE}` has weights of 8 bits: a quarter of the size, and faster on most CPUs. `config.json`
has the labels, in the order of the outputs."""
