"""LRU cache of adapters on disk, fetched from object storage."""

import hashlib
import shutil
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from app import logs
from app.folder_usage import folder_bytes, last_used_at
from app.manifests import MANIFEST_FILE
from app.storage import ObjectStore, join_key
from worker.inference import metrics
from worker.inference.adapter_format import check_config
from worker.inference.adapter_memory import (
    ADAPTER_FILES,
    AdapterFiles,
    DamagedLocalAdapter,
    find_adapter_damage,
    remove_folder,
    temporary_path,
)
from worker.inference.metrics import AdapterCacheKind, AdapterSource
from worker.run_folder import write_manifest

# Files on disk; an evicted adapter is fetched again when needed. Larger than the memory budgets of
# several base models together, since adapters in memory are never evicted from disk.
DISK_BUDGET_BYTES = 16 * 2**30
# A partial download older than this was left by a killed process; a newer one may be in progress
# in another engine that shares the folder.
LEFTOVER_AGE_SECONDS = 3600.0

# Time for which an adapter that is damaged in storage is not downloaded again.
DAMAGE_MEMORY_SECONDS = 60.0
MAX_REMEMBERED_DAMAGES = 1000

log = logs.get_logger(__name__)


class DamagedStoredAdapter(Exception):
    """The stored files of an adapter do not have the checksums that they were stored with."""


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
        self._remove_leftovers()

    def fetch(self, prefix: str) -> AdapterFiles:
        """Return the adapter stored under `prefix`, downloading it if needed.

        A local copy that is damaged is downloaded again. Raises FileNotFoundError, UnsafeKey,
        StorageUnavailable, DamagedStoredAdapter, or InvalidAdapter.
        """
        files = self._get_files(prefix)
        is_cached = self._has_copy(files)
        metrics.count_lookup(AdapterCacheKind.DISK, is_hit=is_cached)
        if not is_cached:
            with metrics.time_load(AdapterSource.STORAGE):
                self._download_verified(prefix, files.folder)
            with self._lock:
                self._remove_leftovers()
                self._evict(keep=files.folder)
        check_config(files.folder)
        return files

    def _has_copy(self, files: AdapterFiles) -> bool:
        """Check that an undamaged copy is on disk; a damaged one is deleted."""
        with self._lock:
            is_cached = files.touch()
        if is_cached:
            with suppress(DamagedLocalAdapter):
                files.verify()
                return True
        return False

    def discard(self, prefix: str) -> None:
        """Delete the files of an adapter that is no longer served."""
        with self._lock:
            remove_folder(self._get_files(prefix).folder)

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
            metrics.DAMAGED_FILES.inc()
        while len(self._damaged_at) >= MAX_REMEMBERED_DAMAGES:
            self._damaged_at.pop(next(iter(self._damaged_at)))
        self._damaged_at[prefix] = time.monotonic()
        raise DamagedStoredAdapter(f"{prefix}/{damaged} is damaged")

    def _remove_leftovers(self) -> None:
        """Remove partial downloads and partial evictions of killed processes."""
        for leftover in self._folder.glob(".*"):
            if time.time() - last_used_at(leftover) > LEFTOVER_AGE_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)

    def _evict(self, *, keep: Path) -> None:
        """Evict down to the budget, except `keep` and the adapters in memory."""
        folders = [folder for folder in self._folder.iterdir() if not folder.name.startswith(".")]
        sizes = {folder: folder_bytes(folder) for folder in folders}
        total = sum(sizes.values())
        for folder in sorted(folders, key=last_used_at):
            if total <= self._max_bytes:
                return
            if folder == keep or self._reference_counts[folder]:
                continue
            remove_folder(folder)
            total -= sizes[folder]

    def _download(self, prefix: str, folder: Path) -> str | None:
        """Download an adapter into place, unless it is damaged; returns the damaged file, if any.

        Adapters without a manifest, which other tools stored, get one of what was downloaded.
        """
        temporary = temporary_path(folder)
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
            damaged = find_adapter_damage(temporary)
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
