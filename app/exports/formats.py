"""Formats of exports: which ones a fine-tuned model has, by its base model and method."""

from app.catalog import ModelKind
from app.db.tables import ExportFormat

# Methods of encoders whose model is a task's head on the base model.
ENCODER_FORMATS = (ExportFormat.PEFT, ExportFormat.HF, ExportFormat.ONNX)
GENERATIVE_FORMATS = (ExportFormat.PEFT, ExportFormat.MERGED, ExportFormat.GGUF)


def list_formats(kind: ModelKind, method: str, *, is_full: bool) -> tuple[ExportFormat, ...]:
    """List the formats of a model. A fully tuned one (`is_full`) has no adapter to export.

    Whether GGUF knows the architecture, only the conversion finds out.
    """
    is_generative = kind == ModelKind.CAUSAL and method != "classification"
    formats = GENERATIVE_FORMATS if is_generative else ENCODER_FORMATS
    return tuple(name for name in formats if name != ExportFormat.PEFT or not is_full)
