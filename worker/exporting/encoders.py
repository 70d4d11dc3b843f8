"""Whole encoders and classifiers for transformers and sentence-transformers."""

import json
from pathlib import Path
from typing import Any

from worker.encoding.task import EncoderTask
from worker.exporting import pooled_classifier
from worker.exporting.encoder_model import EncoderModel, load_encoder
from worker.exporting.errors import UnsupportedExport
from worker.exporting.native_classes import find_native_head, write_equivalent, write_linear
from worker.exporting.source import ExportSource

CODE_FILE = f"{pooled_classifier.__name__.rpartition('.')[2]}.py"


def write_encoder(source: ExportSource, output: Path) -> str:
    """Write the model and its tokenizer; returns how to load them."""
    model = load_encoder(source)
    model.tokenizer.save_pretrained(output)
    if model.head is None:
        return _write_sentence_transformer(model, output)
    _set_labels(model.backbone.config, model)
    native = find_native_head(source)
    if native is not None:
        write_linear(model, native, output)
    elif not write_equivalent(model, output):
        if model.task.method == "classification":
            return _write_pooled_classifier(model, output)
        raise UnsupportedExport(
            f"transformers has no class for {model.task.method} with models of the type "
            f"{model.backbone.config.model_type} that computes what a single linear layer does. "
            "Use the format onnx."
        )
    return _explain(model)


def _explain(model: EncoderModel) -> str:
    if model.task.method == "question_answering":
        # transformers 5 has no pipeline for it any more.
        return """```python
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

model = AutoModelForQuestionAnswering.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
inputs = tokenizer("Where?", "In the garden.", return_tensors="pt")
scores = model(**inputs)
answer = slice(scores.start_logits.argmax(), scores.end_logits.argmax() + 1)
print(tokenizer.decode(inputs["input_ids"][0, answer]))
```"""
    if model.task.method == "token_classification":
        return """```python
from transformers import pipeline

tag = pipeline("token-classification", model="FOLDER", aggregation_strategy="first")
tag("A text.")
```"""
    return """```python
from transformers import pipeline

classify = pipeline("text-classification", model="FOLDER")
classify("A text.", top_k=None)
```"""


def _write_pooled_classifier(model: EncoderModel, output: Path) -> str:
    config = model.backbone.config
    config.pooling = model.task.pooling
    config.auto_map = {
        "AutoModelForSequenceClassification": f"{Path(CODE_FILE).stem}.PooledClassifier"
    }
    classifier = pooled_classifier.PooledClassifier(config)
    classifier.backbone.load_state_dict(model.backbone.state_dict())
    assert model.head is not None
    classifier.head.load_state_dict(model.head.state_dict())
    classifier.save_pretrained(output)
    code = Path(pooled_classifier.__file__).read_text(encoding="utf-8")
    (output / CODE_FILE).write_text(code, encoding="utf-8")
    return f"""```python
from transformers import pipeline

classify = pipeline("text-classification", model="FOLDER", trust_remote_code=True)
classify("A text.", top_k=None)
```

The head is a linear layer on the {model.task.pooling} of the last states, which transformers' own
class for this architecture cannot compute: `{CODE_FILE}` does, 50 lines to read before you trust
them."""


def _write_sentence_transformer(model: EncoderModel, output: Path) -> str:
    """Write the layout of sentence-transformers: the model, pooling, and normalization."""
    model.backbone.save_pretrained(output)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
        {
            "idx": 2,
            "name": "2",
            "path": "2_Normalize",
            "type": "sentence_transformers.models.Normalize",
        },
    ]
    _write_json(output / "modules.json", modules)
    _write_json(
        output / "sentence_bert_config.json",
        {"max_seq_length": model.tokenizer.model_max_length, "do_lower_case": False},
    )
    _write_json(output / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})
    (output / "2_Normalize").mkdir()
    (output / "1_Pooling").mkdir()
    _write_json(output / "1_Pooling" / "config.json", _describe_pooling(model))
    return """```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("FOLDER")
vectors = model.encode(["A text.", "Another one."])
```"""


def _describe_pooling(model: EncoderModel) -> dict[str, object]:
    modes = {"mean": "mean_tokens", "cls": "cls_token", "last": "lasttoken"}
    return {
        "word_embedding_dimension": model.backbone.config.hidden_size,
        **{f"pooling_mode_{mode}": mode == modes[model.task.pooling] for mode in modes.values()},
    }


def _set_labels(config: Any, model: EncoderModel) -> None:
    config.id2label = dict(enumerate(model.labels))
    config.label2id = {label: index for index, label in enumerate(model.labels)}
    if model.task.method == "classification":
        kind = "multi" if model.task.multi_label else "single"
        config.problem_type = f"{kind}_label_classification"


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def output_names(task: EncoderTask) -> tuple[str, ...]:
    """Names of the outputs that transformers gives a model of this task."""
    if task.method == "question_answering":
        return ("start_logits", "end_logits")
    return ("embedding",) if task.method == "embedding" else ("logits",)
