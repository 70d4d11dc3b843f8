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

from app import logs
from app.storage import ObjectStore, join_key
from worker.inference.adapter_format import check_config
from worker.modeling import ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE
from worker.run_folder import MANIFEST_FILE, find_damage, write_manifest

# Weights in memory, per base model.
MEMORY_BUDGET_BYTES = 2**30
# Files on disk; an evicted adapter is fetched again when needed. Larger than the memory budgets of
# several base models together, since adapters in memory are never evicted from disk.
DISK_BUDGET_BYTES = 16 * 2**30
# A partial download older than this was left by a killed process; a newer one may be in progress
# in another engine that shares the folder.
LEFTOVER_AGE_SECONDS = 3600.0

# Time for which an adapter that is damaged in storage is not downloaded again.
DAMAGE_MEMORY_SECONDS = 60.0
MAX_REMEMBERED_DAMAGES = 1000
ADAPTER_FILES = (ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE)

log = logs.get_logger(__name__)


class DamagedLocalAdapter(Exception):
    """The local copy of an adapter was not as it was stored; it has been deleted."""


class DamagedStoredAdapter(Exception):
    """The stored files of an adapter do not have the checksums that they were stored with."""


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
        damaged = _find_damage(self.folder)
        if damaged is not None:
            log.warning("adapter.damaged", adapter=self.prefix, file=damaged)
            _remove(self.folder)
            raise DamagedLocalAdapter(f"{damaged} of {self.prefix} is damaged")


class AdapterDiskCache:
    """Downloaded adapters, each verified by its manifest and renamed into place once complete.

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
        # When an adapter was found damaged in storage, by the monotonic clock.
        self._damaged_at: dict[str, float] = {}
        self.num_damaged = 0
        self._remove_leftovers()

    def fetch(self, prefix: str) -> AdapterFiles:
        """Return the adapter stored under `prefix`, downloading it if needed.

        A local copy that is damaged is downloaded again. Raises FileNotFoundError, UnsafeKey,
        StorageUnavailable, DamagedStoredAdapter, or InvalidAdapter.
        """
        files = self._get_files(prefix)
        with self._lock:
            is_cached = files.touch()
        if is_cached:
            with suppress(DamagedLocalAdapter):
                files.verify()
                check_config(files.folder)
                return files
            self.num_damaged += 1
        self._download_verified(prefix, files.folder)
        with self._lock:
            self._remove_leftovers()
            self._evict(keep=files.folder)
        check_config(files.folder)
        return files

    def discard(self, prefix: str) -> None:
        """Delete the files of an adapter that is no longer served."""
        with self._lock:
            _remove(self._get_files(prefix).folder)

    def _get_files(self, prefix: str) -> AdapterFiles:
        folder = self._folder / hashlib.sha256(prefix.encode()).hexdigest()[:32]
        return AdapterFiles(prefix, folder, self._reference_counts)

    def _download_verified(self, prefix: str, folder: Path) -> None:
        """Download an adapter; if it arrives damaged, once more."""
        damaged_at = self._damaged_at.get(prefix)
        if damaged_at is not None and time.monotonic() - damaged_at < DAMAGE_MEMORY_SECONDS:
            raise DamagedStoredAdapter(f"{prefix} is damaged")
        for _ in range(2):
            damaged = self._download(prefix, folder)
            if damaged is None:
                self._damaged_at.pop(prefix, None)
                return
            log.error("storage.damaged", object=f"{prefix}/{damaged}")
            self.num_damaged += 1
        while len(self._damaged_at) >= MAX_REMEMBERED_DAMAGES:
            self._damaged_at.pop(next(iter(self._damaged_at)))
        self._damaged_at[prefix] = time.monotonic()
        raise DamagedStoredAdapter(f"{prefix}/{damaged} is damaged")

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
            _remove(folder)
            total -= sizes[folder]

    def _download(self, prefix: str, folder: Path) -> str | None:
        """Download an adapter into place, unless it is damaged; returns the damaged file, if any.

        Adapters without a manifest, which other tools stored, get one of what was downloaded.
        """
        temporary = _temporary_path(folder)
        temporary.mkdir(parents=True)
        try:
            for name in ADAPTER_FILES:
                self._store.download(join_key(prefix, name), temporary / name)
            try:
                manifest = self._store.get(join_key(prefix, MANIFEST_FILE))
                (temporary / MANIFEST_FILE).write_bytes(manifest)
            except FileNotFoundError:
                log.warning("adapter.without_manifest", adapter=prefix)
                write_manifest(temporary)
            damaged = _find_damage(temporary)
            if damaged is None:
                temporary.rename(folder)
            return damaged
        except OSError:
            # A concurrent request may have downloaded the same adapter.
            if not folder.exists():
                raise
            return None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _find_damage(folder: Path) -> str | None:
    """Return the first damaged file of an adapter's folder, or None.

    Folders of earlier versions have no manifest; they are downloaded again.
    """
    try:
        manifest = (folder / MANIFEST_FILE).read_bytes()
    except FileNotFoundError:
        return MANIFEST_FILE
    return find_damage(folder, manifest, ADAPTER_FILES)


def _temporary_path(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")


def _remove(folder: Path) -> None:
    """Delete a folder, renamed first: a partial adapter must never be found in its place.

    Another engine that shares the folder may have deleted it already.
    """
    temporary = _temporary_path(folder)
    with suppress(FileNotFoundError):
        folder.rename(temporary)
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

    def discard(self, files: AdapterFiles) -> Weights | None:
        """Drop an adapter; returns its weights if it was loaded."""
        weights = self._loaded.pop(files, None)
        if weights is not None:
            files.reference_counts[files.folder] -= 1
        return weights

    def get(self, files: AdapterFiles) -> Weights:
        """Return an adapter, verifying and loading it if needed.

        Raises DamagedLocalAdapter, and the errors of loading: OSError, ValueError or
        InvalidAdapter.
        """
        if files not in self._loaded:
            files.verify()
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
