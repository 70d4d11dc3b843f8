"""Room for a conversion: it does not start if the disk or the memory is too small for it.

It needs the disk twice: for the files that it writes, and for their archive in storage. Weights of
`hf` and `onnx` are written in float32, whatever the precision of the base model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from app.catalog import CatalogModel
from app.db.tables import ExportFormat
from app.settings import Settings
from app.storage import ObjectStore
from app.storage.disk_usage import measure_free_bytes
from worker.host_memory import HostMemory
from worker.model_cache import get_cache_folder, needs_cache

# Python, torch and transformers, before a weight is loaded.
PROCESS_BYTES = 500_000_000
ADAPTER_BYTES = 100_000_000
# Of the bytes of the base model's files, which may be in 16 bits: the size of the archive, and the
# most memory at a time.
ARCHIVE_FACTORS = {
    ExportFormat.PEFT: 0.0,
    ExportFormat.MERGED: 1.0,
    ExportFormat.GGUF: 1.0,
    ExportFormat.HF: 2.0,
    ExportFormat.ONNX: 2.5,
}
MEMORY_FACTORS = {
    ExportFormat.PEFT: 0.0,
    ExportFormat.MERGED: 1.2,
    ExportFormat.GGUF: 1.2,
    ExportFormat.HF: 4.0,
    ExportFormat.ONNX: 8.0,
}


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that a conversion needs: of the archive, and of memory."""

    archive_bytes: int
    memory_bytes: int

    def has_memory(self, memory: HostMemory) -> bool:
        """False if the memory that is free now is less than what is needed."""
        available = memory.available_bytes()
        return available is None or available >= self.memory_bytes

    def find_missing_disk(self, settings: Settings, store: ObjectStore) -> int:
        """Bytes that the fuller disk lacks for this and the reserve; 0 if there is room."""
        in_storage = store.free_bytes()
        # The storage is a bucket, or on a disk that may be that of LUTHIER_HOME.
        home_bytes = self.archive_bytes * (1 if in_storage is None else 2)
        missing = home_bytes - measure_free_bytes(settings.home)
        if in_storage is not None:
            missing = max(missing, self.archive_bytes - in_storage)
        return max(missing + settings.disk_reserve_bytes, 0)


def estimate_room(format_: ExportFormat, base: CatalogModel, models: Path) -> Room:
    """Estimate by the size of the base model's weights, which are in the cache or in place."""
    weights = sum(path.stat().st_size for path in _list_weights(base, models))
    return Room(
        archive_bytes=int(weights * ARCHIVE_FACTORS[format_]) + ADAPTER_BYTES,
        memory_bytes=int(weights * MEMORY_FACTORS[format_]) + PROCESS_BYTES,
    )


def _list_weights(base: CatalogModel, models: Path) -> Iterator[Path]:
    if needs_cache(base):
        folder = get_cache_folder(base, models)
    elif base.source.startswith("path:"):
        folder = Path(base.source.removeprefix("path:"))
    else:
        name, _, inside = base.source.removeprefix("package:").partition("/")
        try:
            folder = Path(str(distribution(name).locate_file(inside)))
        except PackageNotFoundError:
            return
    yield from folder.glob("*.safetensors")
