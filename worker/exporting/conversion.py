"""One conversion: chooses the writer of the format, and adds the model card."""

from collections.abc import Callable
from pathlib import Path

import torch

from app.catalog import CatalogModel
from worker.encoding.task import has_task
from worker.export_spec import ExportSpec
from worker.exporting import adapters, card, causal, encoders, gguf_file, onnx_graph
from worker.exporting.source import ExportSource
from worker.model_sources import materialize

# Of generative models, and of models with an encoder task.
WRITERS: dict[str, Callable[[ExportSource, Path], str]] = {
    "peft": adapters.write_generative,
    "merged": causal.write_merged,
    "gguf": gguf_file.write_gguf,
}
ENCODER_WRITERS: dict[str, Callable[[ExportSource, Path], str]] = {
    "peft": adapters.write_encoder,
    "hf": encoders.write_encoder,
    "onnx": onnx_graph.write_onnx,
}


def convert(spec: ExportSpec, adapter: Path, output: Path) -> None:
    """Write the export's files to `output`. Raises UnsupportedExport and ModelUnavailable."""
    if spec.threads:
        torch.set_num_threads(spec.threads)
    base = CatalogModel.from_json(spec.model)
    source = ExportSource(
        spec=spec,
        base=base,
        base_folder=materialize(base, Path(spec.model_cache)),
        adapter_folder=adapter,
    )
    writers = ENCODER_WRITERS if has_task(adapter) else WRITERS
    usage = writers[spec.format](source, output)
    (output / "README.md").write_text(card.render(source, output, usage), encoding="utf-8")
