"""Two LRU caches of adapters: files on disk, fetched from object storage, and weights in memory."""

import hashlib
import os
import secrets
import shutil
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from app.storage import ObjectStore, join_key
from worker.inference.adapter_format import check_config
from worker.modeling import ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE

# Weights in memory, per base model.
MEMORY_BUDGET_BYTES = 2**30
# Files on disk; an evicted adapter is fetched again when needed. Larger than the memory budgets of
# several base models together, since adapters in memory are never evicted from disk.
DISK_BUDGET_BYTES = 16 * 2**30
# A partial download older than this was left by a killed process; a newer one may be in progress
# in another engine that shares the folder.
LEFTOVER_AGE_SECONDS = 3600.0


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


class AdapterDiskCache:
    """Downloaded adapters, each renamed into place once complete.

    Beyond `max_bytes` the least recently used are evicted.
    """

    def __init__(
        self, store: ObjectStore, folder: Path, *, max_bytes: int = DISK_BUDGET_BYTES
    ) -> None:
        self._store = store
        self._folder = folder
        self._max_bytes = max_bytes
        self._reference_counts: Counter[Path] = Counter()
        # Keeps an adapter from being evicted between its lookup and its touch.
        self._lock = threading.Lock()
        self._remove_leftovers()

    def fetch(self, prefix: str) -> AdapterFiles:
        """Return the adapter stored under `prefix`, downloading it if needed.

        Raises FileNotFoundError, UnsafeKey, StorageUnavailable, or InvalidAdapter.
        """
        folder = self._folder / hashlib.sha256(prefix.encode()).hexdigest()[:32]
        files = AdapterFiles(prefix, folder, self._reference_counts)
        with self._lock:
            is_cached = files.touch()
        if not is_cached:
            self._download(prefix, folder)
            with self._lock:
                self._remove_leftovers()
                self._evict(keep=folder)
        check_config(folder)
        return files

    def _remove_leftovers(self) -> None:
        """Remove partial downloads and partial evictions of killed processes."""
        for leftover in self._folder.glob(".*"):
            if time.time() - _last_used_at(leftover) > LEFTOVER_AGE_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)

    def _evict(self, *, keep: Path) -> None:
        """Evict down to the budget, except `keep` and the adapters in memory."""
        folders = [folder for folder in self._folder.iterdir() if not folder.name.startswith(".")]
        sizes = {folder: _folder_bytes(folder) for folder in folders}
        total = sum(sizes.values())
        for folder in sorted(folders, key=_last_used_at):
            if total <= self._max_bytes:
                return
            if folder == keep or self._reference_counts[folder]:
                continue
            # Renamed first: a partial adapter must never be found in its place. Another engine
            # that shares the folder may have evicted it already.
            temporary = self._temporary_path(folder)
            with suppress(FileNotFoundError):
                folder.rename(temporary)
            shutil.rmtree(temporary, ignore_errors=True)
            total -= sizes[folder]

    def _temporary_path(self, folder: Path) -> Path:
        return self._folder / f".{folder.name}.{secrets.token_hex(4)}"

    def _download(self, prefix: str, folder: Path) -> None:
        temporary = self._temporary_path(folder)
        temporary.mkdir(parents=True)
        try:
            for name in (ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE):
                self._store.download(join_key(prefix, name), temporary / name)
            temporary.rename(folder)
        except OSError:
            # A concurrent request may have downloaded the same adapter.
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _folder_bytes(folder: Path) -> int:
    """Bytes of the folder's files; 0 if it no longer exists."""
    with suppress(FileNotFoundError):
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0


def _last_used_at(folder: Path) -> float:
    """Unix time of the last use; now, if the folder no longer exists."""
    with suppress(FileNotFoundError):
        return folder.stat().st_mtime
    return time.time()


class SizedWeights(Protocol):
    """Weights that know their size."""

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""


Weights = TypeVar("Weights", bound=SizedWeights)


class AdapterMemoryCache(Generic[Weights]):
    """An LRU cache of loaded adapters, limited by their bytes. Not thread-safe."""

    def __init__(
        self, load: Callable[[AdapterFiles], Weights], *, max_bytes: int = MEMORY_BUDGET_BYTES
    ) -> None:
        self._load = load
        self._max_bytes = max_bytes
        self._loaded: OrderedDict[AdapterFiles, Weights] = OrderedDict()

    def discard(self, files: AdapterFiles) -> None:
        """Drop an adapter if it is loaded."""
        if self._loaded.pop(files, None) is not None:
            files.reference_counts[files.folder] -= 1

    def get(self, files: AdapterFiles) -> Weights:
        """Return an adapter, loading it if needed.

        Raises the errors of loading: OSError, ValueError or InvalidAdapter.
        """
        if files not in self._loaded:
            self._loaded[files] = self._load(files)
            files.reference_counts[files.folder] += 1
        self._loaded.move_to_end(files)
        # Sequences hold their adapter themselves, so an eviction here does not affect them.
        while (
            len(self._loaded) > 1 and sum(w.nbytes for w in self._loaded.values()) > self._max_bytes
        ):
            evicted, _ = self._loaded.popitem(last=False)
            evicted.reference_counts[evicted.folder] -= 1
        return self._loaded[files]
