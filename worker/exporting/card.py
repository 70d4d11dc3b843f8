"""Model card: the README.md of an exported model, in the layout of Hugging Face's hub."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from worker.exporting.source import ExportSource

FORMAT_NAMES = {
    "peft": "a LoRA adapter for [PEFT](https://huggingface.co/docs/peft)",
    "merged": "a whole model in safetensors for [transformers]"
    "(https://huggingface.co/docs/transformers)",
    "gguf": "a whole model in one GGUF file for [llama.cpp](https://github.com/ggml-org/llama.cpp)",
    "hf": "a whole model in safetensors for [transformers]"
    "(https://huggingface.co/docs/transformers)",
    "onnx": "a graph for [ONNX Runtime](https://onnxruntime.ai)",
}
LIBRARIES = {"peft": "peft", "merged": "transformers", "gguf": "gguf", "onnx": "onnx"}
TASKS = {
    "supervised": "text-generation",
    "dpo": "text-generation",
    "classification": "text-classification",
    "token_classification": "token-classification",
    "question_answering": "question-answering",
    "embedding": "sentence-similarity",
}
METHODS = {
    "supervised": "supervised fine-tuning",
    "dpo": "direct preference optimization (DPO)",
    "classification": "text classification",
    "token_classification": "token classification",
    "question_answering": "extractive question answering",
    "embedding": "contrastive training of embeddings",
}


def render(source: ExportSource, output: Path, usage: str) -> str:
    """Render the card of the files in `output`. `usage` says how to load them."""
    spec = source.spec
    sections = [
        _front_matter(source, output),
        f"# {spec.model_name}",
        _introduction(source),
        "## Load it",
        usage.replace("FOLDER", spec.folder_name),
        *_base_section(source),
        *_training_section(spec.facts),
        *_metrics_section(spec.facts),
        *_label_section(source),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(source: ExportSource, output: Path) -> str:
    method = source.spec.facts["method"]
    library = LIBRARIES.get(source.spec.format, "transformers")
    if (output / "modules.json").exists():
        library = "sentence-transformers"
    lines = [f"library_name: {library}", f"pipeline_tag: {TASKS.get(method, 'text-generation')}"]
    if source.base.license:
        lines.append(f"license: {source.base.license}")
    if source.hub is not None:
        relation = "adapter" if source.spec.format == "peft" else "finetune"
        lines += [
            f"base_model: {source.hub.repository}",
            f"base_model_relation: {relation}",
        ]
    return "\n".join(["---", *lines, "---"])


def _introduction(source: ExportSource) -> str:
    facts = source.spec.facts
    base = source.base.id if source.hub is None else source.hub.repository
    method = METHODS.get(facts["method"], facts["method"])
    name = FORMAT_NAMES[source.spec.format]
    return f"`{base}` after {method} on one training file, exported as {name}."


def _base_section(source: ExportSource) -> list[str]:
    base, hub = source.base, source.hub
    rows = [("Name here", f"`{base.id}`")]
    if hub is not None:
        rows.append(("On the hub", f"[{hub.repository}](https://huggingface.co/{hub.repository})"))
        rows.append(("Commit", f"`{hub.revision}`" if hub.revision else "not recorded"))
    rows.append(("Licence", base.license or "not recorded; that of the base model applies"))
    notes = []
    if base.source.endswith(".gguf"):
        notes.append(
            "Training used a quantized copy of the base model. On the original weights, an adapter "
            "gives slightly different numbers."
        )
    return ["## Base model", _table(rows), *notes]


def _training_section(facts: dict[str, Any]) -> list[str]:
    rows = [
        ("Method", facts["method"]),
        ("Trained", facts["created_at"]),
        ("Job", f"`{facts['job_id']}`"),
        *_describe_file("Training file", facts["training_file"]),
        *_describe_file("Validation file", facts["validation_file"]),
        ("Continued from", facts["start_model"]),
        ("Steps", facts["step"]),
        ("Tokens", facts["trained_tokens"]),
        ("Seed", facts["seed"]),
        *((f"`{name}`", _format(value)) for name, value in facts["hyperparameters"].items()),
        ("Software", f"Luthier {version('luthier')}"),
    ]
    return ["## Training", _table([row for row in rows if row[1] not in (None, "")])]


def _describe_file(role: str, file: dict[str, Any] | None) -> list[tuple[str, Any]]:
    if file is None:
        return []
    return [
        (role, f"{file['examples']} examples in the format {file['format']}"),
        (f"{role}, SHA-256", f"`{file['sha256']}`"),
    ]


def _metrics_section(facts: dict[str, Any]) -> list[str]:
    metrics = {name: value for name, value in facts["metrics"].items() if name != "step"}
    if not metrics:
        return []
    rows = [(f"`{name}`", _format(value)) for name, value in metrics.items()]
    note = (
        "`train_` is measured on the last batch, `valid_` on a batch of the validation file, and "
        "`full_valid_` on all of it."
    )
    return ["## Metrics", _table(rows), note]


def _label_section(source: ExportSource) -> list[str]:
    task = source.task
    if task is None or not task.labels or task.method == "question_answering":
        return []
    labels = ", ".join(f"`{label}`" for label in task.labels)
    kind = "Any number of these labels may apply to a text" if task.multi_label else "Labels"
    return ["## Labels", f"{kind}: {labels}."]


def _table(rows: list[tuple[str, Any]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _format(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)
