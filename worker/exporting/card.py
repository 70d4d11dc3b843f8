"""Model card: the README.md of an exported model, in the layout of Hugging Face's hub."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from worker.exporting.markdown import code, table
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
# Of a classifier with thousands of labels, the card names the first ones.
MAX_LABELS = 100
TASKS = {
    "supervised": "text-generation",
    "dpo": "text-generation",
    "classification": "text-classification",
    "token_classification": "token-classification",
    "question_answering": "question-answering",
    "embedding": "sentence-similarity",
}
METHODS = {
    "supervised": "supervised learning of its answers",
    "dpo": "direct preference optimization (DPO)",
    "classification": "learning to classify texts",
    "token_classification": "learning to classify tokens",
    "question_answering": "learning to find answers in a context",
    "embedding": "contrastive learning of embeddings",
}


def render(source: ExportSource, output: Path, usage: str) -> str:
    """Render the card of the files in `output`. `usage` says how to load them."""
    spec = source.spec
    sections = [
        _front_matter(source, output),
        f"# {code(spec.model_name)}",
        _introduction(source),
        "## Load it",
        usage.replace("FOLDER", spec.folder_name),
        *_base_section(source),
        *_training_section(spec.facts),
        *_metrics_section(spec.facts),
        *_test_section(spec.facts.get("test_results") or {}),
        *_evaluation_section(spec.facts.get("evaluations") or []),
        *_label_section(source),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(source: ExportSource, output: Path) -> str:
    """Describe the model to the hub, as YAML."""
    method, hub = source.spec.facts["method"], source.hub
    library = LIBRARIES.get(source.spec.format, "transformers")
    if (output / "modules.json").exists():
        library = "sentence-transformers"
    relation = "adapter" if source.spec.format == "peft" else "finetune"
    data = ModelCardData(
        library_name=library,
        pipeline_tag=TASKS.get(method, "text-generation"),
        license=source.base.license or None,
        base_model=None if hub is None else hub.repository,
        base_model_relation=None if hub is None else relation,
    )
    return f"---\n{data.to_yaml()}\n---"


def _introduction(source: ExportSource) -> str:
    facts = source.spec.facts
    base = source.base.id if source.hub is None else source.hub.repository
    method = METHODS.get(facts["method"], facts["method"])
    name = FORMAT_NAMES[source.spec.format]
    return f"`{base}`, fine-tuned on one training file by {method}. This folder is {name}."


def _base_section(source: ExportSource) -> list[str]:
    base, hub = source.base, source.hub
    rows = [("Name here", code(base.id))]
    if hub is not None:
        rows.append(("On the hub", f"[{hub.repository}](https://huggingface.co/{hub.repository})"))
        rows.append(("Commit", code(hub.revision) if hub.revision else "not recorded"))
    unknown = "not recorded; that of the base model applies"
    rows.append(("Licence", code(base.license) if base.license else unknown))
    notes = []
    if base.source.endswith(".gguf"):
        notes.append(
            "Training used a quantized copy of the base model. On the original weights, an adapter "
            "gives slightly different numbers."
        )
    return ["## Base model", table(rows), *notes]


def _training_section(facts: dict[str, Any]) -> list[str]:
    start_model = facts["start_model"]
    rows = [
        ("Method", METHODS.get(facts["method"], facts["method"])),
        ("Trained", facts["created_at"]),
        ("Job", code(facts["job_id"])),
        *_describe_file("Training file", facts["training_file"]),
        *_describe_file("Validation file", facts["validation_file"]),
        ("Continued from", code(start_model) if start_model else None),
        ("Steps", facts["step"]),
        ("Tokens", facts["trained_tokens"]),
        ("Software", f"Luthier {version('luthier')}"),
    ]
    # Strings of hyperparameters are the user's.
    recipe = [
        ("`seed`", facts["seed"]),
        *((code(name), _format(value)) for name, value in facts["hyperparameters"].items()),
    ]
    return [
        "## Training",
        table([row for row in rows if row[1] not in (None, "")]),
        "With these hyperparameters, those that were left to `auto` as they were chosen:",
        table(recipe),
    ]


def _describe_file(role: str, file: dict[str, Any] | None) -> list[tuple[str, Any]]:
    if file is None:
        return []
    return [
        (role, f"{file['examples']} examples in the format {file['format']}"),
        (f"{role}, SHA-256", code(file["sha256"])),
    ]


def _metrics_section(facts: dict[str, Any]) -> list[str]:
    metrics = {name: value for name, value in facts["metrics"].items() if name != "step"}
    if not metrics:
        return []
    rows = [(code(name), _format(value)) for name, value in sorted(metrics.items())]
    note = (
        "`train_` is measured on the last batch, `valid_loss` and `valid_mean_token_accuracy` on a "
        "batch of the validation file, and all others on the whole of it."
    )
    return ["## Metrics", table(rows), note]


def _test_section(results: dict[str, Any]) -> list[str]:
    """Describe the results of the job's test file, beside the base model's where there are any."""
    models = [name for name in ("tuned", "base") if isinstance(results.get(name), dict)]
    columns = {name: results[name] for name in models} or {"": results}
    rows = [
        (f"{code(metric)} {_of(model)}".rstrip(), _format(value))
        for model, metrics in columns.items()
        for metric, value in sorted(metrics.items())
        if isinstance(value, float)
    ]
    if not rows:
        return []
    count = f"{results.get('measured_rows', results.get('rows'))} of {results.get('rows')} rows"
    note = f"Measured once, after training, on {count} of a file that nothing was chosen by."
    return ["## Test file", table(rows), note]


def _evaluation_section(evaluations: list[dict[str, Any]]) -> list[str]:
    """Describe the evals on which the model was compared with its base model."""
    rows = []
    for evaluation in evaluations:
        rate = (evaluation.get("result") or {}).get("pass_rate") or {}
        if not rate.get("items"):
            continue
        low, high = rate["interval"]
        text = (
            f"{rate['tuned']:.1%} of {rate['items']} items pass, of the base model "
            f"{rate['base']:.1%} ({low:+.1%} to {high:+.1%})"
        )
        rows.append((code(evaluation["name"] or evaluation["eval_id"]), text))
    if not rows:
        return []
    note = "In parentheses: 95 % interval of the difference, by the paired bootstrap."
    return ["## Evals", table(rows), note]


def _of(model: str) -> str:
    return {"tuned": "of this model", "base": "of the base model"}.get(model, "")


def _label_section(source: ExportSource) -> list[str]:
    task = source.task
    if task is None or not task.labels or task.method == "question_answering":
        return []
    labels = ", ".join(map(code, task.labels[:MAX_LABELS]))
    rest = len(task.labels) - MAX_LABELS
    more = f", and {rest} more" if rest > 0 else ""
    kind = "Any number of these labels may apply to a text" if task.multi_label else "Labels"
    return ["## Labels", f"{kind}: {labels}{more}."]


def _format(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if isinstance(value, bool | int) else code(text)
