"""LRU cache of adapters in memory, loaded from verified files on disk."""

import os
import secrets
import shutil
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from app import logs
from app.manifests import MANIFEST_FILE, find_damage
from worker.host_memory import return_freed_memory
from worker.inference import metrics
from worker.inference.metrics import AdapterCacheKind, AdapterSource
from worker.modeling import ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE

# Weights in memory, per base model.
MEMORY_BUDGET_BYTES = 2**30
ADAPTER_FILES = (ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE)

log = logs.get_logger(__name__)


class DamagedLocalAdapter(Exception):
    """The local copy of an adapter was not as it was stored; it has been deleted."""


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """An adapter on disk in PEFT's format. The objects under a prefix are immutable."""

    prefix: str
    folder: Path
    # How many memory caches hold the adapter of each folder; shared by one AdapterDiskCache.
    reference_counts: Counter[Path] = field(default_factory=Counter, compare=False, repr=False)

    def touch(self) -> bool:
        """Mark as recently used; return False if the files no longer exist."""
        try:
            os.utime(self.folder)
        except FileNotFoundError:
            return False
        return True

    def verify(self) -> None:
        """Compare the files with the checksums they were stored with.

        Deletes them and raises DamagedLocalAdapter if they differ, so that they are fetched again.
        """
        damaged = find_adapter_damage(self.folder)
        if damaged is not None:
            log.warning("adapter.damaged", adapter=self.prefix, file=damaged)
            metrics.DAMAGED_FILES.inc()
            remove_folder(self.folder)
            raise DamagedLocalAdapter(f"{damaged} of {self.prefix} is damaged")


class SizedWeights(Protocol):
    """Weights that know their size."""

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""


Weights = TypeVar("Weights", bound=SizedWeights)


class AdapterMemoryCache(Generic[Weights]):
    """An LRU cache of loaded adapters, limited by their bytes.

    Used by one thread, except for `is_loaded` and `preload`.
    """

    def __init__(
        self, load: Callable[[AdapterFiles], Weights], *, max_bytes: int = MEMORY_BUDGET_BYTES
    ) -> None:
        self._load = load
        self._max_bytes = max_bytes
        self._loaded: OrderedDict[AdapterFiles, Weights] = OrderedDict()
        # Summed once: weights of many layers take milliseconds.
        self._sizes: dict[AdapterFiles, int] = {}
        self._num_bytes = 0
        # Loaded ahead, and not asked for yet.
        self._preloaded: set[AdapterFiles] = set()
        self._num_discarded = 0
        # Not held while an adapter is loaded.
        self._lock = threading.Lock()

    def discard(self, files: AdapterFiles) -> Weights | None:
        """Drop an adapter; returns its weights if it was loaded."""
        with self._lock:
            self._num_discarded += 1
            weights = self._loaded.pop(files, None)
            if weights is not None:
                self._forget(files)
        return weights

    def holds(self, weights: Weights) -> bool:
        """Check that these weights are still cached."""
        with self._lock:
            return any(loaded is weights for loaded in self._loaded.values())

    def is_loaded(self, files: AdapterFiles) -> bool:
        return files in self._loaded

    def preload(self, files: AdapterFiles) -> None:
        """Load an adapter that `get` will be asked for, in another thread than the one that does.

        It is not kept if an adapter was discarded meanwhile, which may have been this one. Raises
        what `get` raises.
        """
        num_discarded = self._num_discarded
        weights = self._read(files)
        with self._lock:
            if files not in self._loaded and num_discarded == self._num_discarded:
                self._insert(files, weights)
                self._preloaded.add(files)
        # Files are read in float32. What that took is kept in the heap of each thread that has read
        # any.
        return_freed_memory()

    def get(self, files: AdapterFiles) -> Weights:
        """Return an adapter, verifying and loading it if needed.

        Raises DamagedLocalAdapter, and the errors of loading: OSError, ValueError or
        InvalidAdapter.
        """
        with self._lock:
            weights = self._loaded.get(files)
            is_hit = weights is not None and files not in self._preloaded
            metrics.count_lookup(AdapterCacheKind.MEMORY, is_hit=is_hit)
            self._preloaded.discard(files)
            if weights is not None:
                self._loaded.move_to_end(files)
                return weights
        weights = self._read(files)
        with self._lock:
            if files not in self._loaded:
                self._insert(files, weights)
            return self._loaded[files]

    def _read(self, files: AdapterFiles) -> Weights:
        with metrics.time_load(AdapterSource.DISK):
            files.verify()
            return self._load(files)

    def _insert(self, files: AdapterFiles, weights: Weights) -> None:
        self._loaded[files] = weights
        files.reference_counts[files.folder] += 1
        self._sizes[files] = weights.nbytes
        self._count(1, self._sizes[files])
        # Sequences hold their adapter themselves, so an eviction here does not affect them.
        while len(self._loaded) > 1 and self._num_bytes > self._max_bytes:
            evicted, _ = self._loaded.popitem(last=False)
            self._forget(evicted)

    def _forget(self, files: AdapterFiles) -> None:
        self._preloaded.discard(files)
        files.reference_counts[files.folder] -= 1
        self._count(-1, -self._sizes.pop(files))

    def _count(self, number: int, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        metrics.ADAPTERS_IN_MEMORY.inc(number)
        metrics.ADAPTER_MEMORY.inc(num_bytes)


def find_adapter_damage(folder: Path) -> str | None:
    """Return the first damaged file of an adapter's folder, or None.

    Folders of earlier versions have no manifest; they are downloaded again.
    """
    try:
        manifest = (folder / MANIFEST_FILE).read_bytes()
    except FileNotFoundError:
        return MANIFEST_FILE
    return find_damage(folder, manifest, ADAPTER_FILES)


def temporary_path(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")


def remove_folder(folder: Path) -> None:
    """Delete a folder, renamed first: a partial adapter must never be found in its place.

    Another engine that shares the folder may have deleted it already.
    """
    temporary = temporary_path(folder)
    with suppress(FileNotFoundError):
        folder.rename(temporary)
    shutil.rmtree(temporary, ignore_errors=True)
