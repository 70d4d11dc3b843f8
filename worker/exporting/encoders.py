"""Whole encoders and classifiers for transformers and sentence-transformers."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from worker.encoding.task import EncoderTask
from worker.exporting import pooled_classifier
from worker.exporting.encoder_model import EncoderModel, load_encoder
from worker.exporting.errors import UnsupportedExport
from worker.exporting.source import ExportSource

AUTO_CLASSES = {
    "token_classification": ("TokenClassification", AutoModelForTokenClassification, "TOKEN_CLS"),
    "question_answering": ("QuestionAnswering", AutoModelForQuestionAnswering, "QUESTION_ANS"),
}
TRANSFORMERS_TASKS = {
    "classification": "text-classification",
    "token_classification": "token-classification",
    "question_answering": "question-answering",
}
CODE_FILE = f"{pooled_classifier.__name__.rpartition('.')[2]}.py"


@dataclass(frozen=True, slots=True)
class NativeHead:
    """Head of one of transformers' classes: a linear layer, directly on the backbone's states.

    name    its name in the model
    prefix  the backbone's name in the model
    """

    auto_name: str
    task_type: str
    name: str
    prefix: str


def find_native_head(source: ExportSource) -> NativeHead | None:
    """Find where transformers' class for the task has its head; None if it has more layers."""
    task = source.task
    if task is None or task.method not in AUTO_CLASSES:
        return None
    config = AutoConfig.from_pretrained(
        source.base_folder, local_files_only=True, trust_remote_code=False
    )
    auto_name, auto_class, task_type = AUTO_CLASSES[task.method]
    config.num_labels = 2
    try:
        with torch.device("meta"):
            model: PreTrainedModel = auto_class.from_config(config, trust_remote_code=False)
    except ValueError:
        # This architecture has no class for the task.
        return None
    prefix = model.base_model_prefix
    own = [name for name, _ in model.named_parameters() if not name.startswith(f"{prefix}.")]
    layers = {name.rpartition(".")[0] for name in own}
    if len(layers) != 1 or not isinstance(model.get_submodule(min(layers)), torch.nn.Linear):
        return None
    return NativeHead(auto_name, task_type, min(layers), prefix)


def write_encoder(source: ExportSource, output: Path) -> str:
    """Write the model and its tokenizer; returns how to load them."""
    model = load_encoder(source)
    model.tokenizer.save_pretrained(output)
    if model.head is None:
        return _write_sentence_transformer(model, output)
    if model.task.method == "classification":
        return _write_pooled_classifier(model, output)
    native = find_native_head(source)
    if native is None:
        raise UnsupportedExport(
            f"transformers has no class for {model.task.method} with models of the type "
            f"{model.backbone.config.model_type} that has a single linear layer as its head. Use "
            "the format onnx."
        )
    return _write_native(model, native, output)


def _write_native(model: EncoderModel, native: NativeHead, output: Path) -> str:
    _, auto_class, _ = AUTO_CLASSES[model.task.method]
    config = model.backbone.config
    _set_labels(config, model.labels)
    whole = auto_class.from_config(config, trust_remote_code=False)
    missing = (
        whole.get_submodule(native.prefix)
        .load_state_dict(model.backbone.state_dict(), strict=False)
        .missing_keys
    )
    if missing:
        raise UnsupportedExport(f"The model lacks the weight {missing[0]} of transformers' class.")
    assert model.head is not None
    whole.get_submodule(native.name).load_state_dict(model.head.state_dict())
    whole.save_pretrained(output)
    task = TRANSFORMERS_TASKS[model.task.method]
    if model.task.method == "question_answering":
        # transformers 5 has no pipeline for it any more.
        return """```python
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

model = AutoModelForQuestionAnswering.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
scores = model(**tokenizer("Where?", "In the garden.", return_tensors="pt"))
answer = slice(scores.start_logits.argmax(), scores.end_logits.argmax() + 1)
```"""
    return f"""```python
from transformers import pipeline

tag = pipeline("{task}", model="FOLDER", aggregation_strategy="first")
tag("A text.")
```"""


def _write_pooled_classifier(model: EncoderModel, output: Path) -> str:
    config = model.backbone.config
    _set_labels(config, model.labels)
    config.pooling = model.task.pooling
    config.problem_type = (
        "multi_label_classification" if model.task.multi_label else "single_label_classification"
    )
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

The head is a linear layer on the {model.task.pooling} of the last states, for which transformers
has no class: `{CODE_FILE}` has it, 50 lines to read before you trust them."""


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


def _set_labels(config: object, labels: tuple[str, ...]) -> None:
    config.id2label = dict(enumerate(labels))  # type: ignore[attr-defined]
    config.label2id = {label: index for index, label in enumerate(labels)}  # type: ignore[attr-defined]


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def output_names(task: EncoderTask) -> tuple[str, ...]:
    """Names of the outputs that transformers gives a model of this task."""
    if task.method == "question_answering":
        return ("start_logits", "end_logits")
    return ("embedding",) if task.method == "embedding" else ("logits",)
