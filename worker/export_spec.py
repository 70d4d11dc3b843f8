"""The spec of a conversion: the supervisor writes it into the run folder of an export.

export.json   the ExportSpec
init/         the model's adapter_config.json and adapter_model.safetensors
export/       what the conversion makes; the archive has these files
events.jsonl  a Failed record if the model cannot be exported in this format
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worker.run_folder import RunFolder, atomic_write

SPEC_FILE = "export.json"
EXPORT_FOLDER = "export"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSpec:
    """One model to convert to one format.

    folder_name  name of the folder that the archive consists of
    model        the base model's entry in the catalog, from `CatalogModel.to_json`
    model_cache  folder of converted base models
    facts        what the model card says of the training, from `app.exports.conversions`
    threads      CPU threads; 0 means one per core
    """

    model_name: str
    folder_name: str
    format: str
    model: dict[str, Any]
    model_cache: str
    facts: dict[str, Any]
    threads: int = 0


def write_spec(folder: RunFolder, spec: ExportSpec) -> None:
    atomic_write(folder.path / SPEC_FILE, json.dumps(asdict(spec)).encode())


def read_spec(folder: RunFolder) -> ExportSpec:
    return ExportSpec(**json.loads((folder.path / SPEC_FILE).read_bytes()))


def get_output_folder(folder: RunFolder) -> Path:
    return folder.path / EXPORT_FOLDER
