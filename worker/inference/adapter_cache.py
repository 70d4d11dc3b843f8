"""Adapters: fetched from storage once, kept on disk, the latest used in memory."""

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

# Bytes of adapters that one base model keeps in memory.
MEMORY_BUDGET_BYTES = 2**30
# Bytes of adapters that are kept on disk; what is needed again after that is fetched again. More
# than what memory holds of several base models, whose adapters stay on disk whatever they take.
DISK_BUDGET_BYTES = 16 * 2**30
# What lies half fetched for longer is a killed process's; younger, it may be fetched just now by
# another engine that shares the folder.
LEFTOVER_AGE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """An adapter on disk in PEFT's format. What lies under a prefix never changes."""

    prefix: str
    folder: Path
    # How many memories hold each folder's adapter; all files from one AdapterFolder share it.
    reference_counts: Counter[Path] = field(default_factory=Counter, compare=False, repr=False)

    def touch(self) -> bool:
        """Note the time, by which the latest used are kept; false if the files are gone."""
        try:
            os.utime(self.folder)
        except FileNotFoundError:
            return False
        return True


class AdapterDiskCache:
    """The adapters that were fetched once, each renamed into place when it was whole.

    The least recently used go when they are more than `budget` bytes.
    """

    def __init__(
        self, store: ObjectStore, folder: Path, *, max_bytes: int = DISK_BUDGET_BYTES
    ) -> None:
        self._store = store
        self._folder = folder
        self._max_bytes = max_bytes
        self._reference_counts: Counter[Path] = Counter()
        # So that no adapter is dropped between being found here and being noted as used.
        self._lock = threading.Lock()
        self._remove_leftovers()

    def fetch(self, prefix: str) -> AdapterFiles:
        """The adapter below `prefix` in storage.

        Raises FileNotFoundError, UnsafeKey, StorageUnavailable, or AdapterRefused.
        """
        place = self._folder / hashlib.sha256(prefix.encode()).hexdigest()[:32]
        files = AdapterFiles(prefix, place, self._reference_counts)
        with self._lock:
            found = files.touch()
        if not found:
            self._download(prefix, place)
            with self._lock:
                self._remove_leftovers()
                self._evict(keep=place)
        check_config(place)
        return files

    def _remove_leftovers(self) -> None:
        """Remove what killed processes left half fetched or half removed."""
        for leftover in self._folder.glob(".*"):
            if time.time() - _last_used_at(leftover) > LEFTOVER_AGE_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)

    def _evict(self, *, keep: Path) -> None:
        """Bring the folder within its budget, if it can be without what memory holds."""
        places = [place for place in self._folder.iterdir() if not place.name.startswith(".")]
        sizes = {place: _folder_bytes(place) for place in places}
        total = sum(sizes.values())
        for place in sorted(places, key=_last_used_at):
            if total <= self._max_bytes:
                return
            if place == keep or self._reference_counts[place]:
                continue
            # Renamed first: half an adapter must never be found in its place. Another engine that
            # shares the folder may have been faster.
            aside = self._temporary_path(place)
            with suppress(FileNotFoundError):
                place.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
            total -= sizes[place]

    def _temporary_path(self, place: Path) -> Path:
        return self._folder / f".{place.name}.{secrets.token_hex(4)}"

    def _download(self, prefix: str, place: Path) -> None:
        aside = self._temporary_path(place)
        aside.mkdir(parents=True)
        try:
            for name in (ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE):
                self._store.download(join_key(prefix, name), aside / name)
            aside.rename(place)
        except OSError:
            # Another request may have put the same adapter there meanwhile.
            if not place.exists():
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _folder_bytes(folder: Path) -> int:
    """0 if it is gone."""
    with suppress(FileNotFoundError):
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0


def _last_used_at(folder: Path) -> float:
    """When it was last used, in seconds since the epoch; now, if it is gone."""
    with suppress(FileNotFoundError):
        return folder.stat().st_mtime
    return time.time()


class SizedWeights(Protocol):
    @property
    def nbytes(self) -> int:
        """Bytes in memory."""


Weights = TypeVar("Weights", bound=SizedWeights)


class AdapterMemoryCache(Generic[Weights]):
    """The adapters used last, up to a number of bytes; others are read from disk again."""

    def __init__(
        self, load: Callable[[AdapterFiles], Weights], *, max_bytes: int = MEMORY_BUDGET_BYTES
    ) -> None:
        self._load = load
        self._max_bytes = max_bytes
        self._loaded: OrderedDict[AdapterFiles, Weights] = OrderedDict()

    def discard(self, files: AdapterFiles) -> None:
        """Let go of an adapter, if it is held."""
        if self._loaded.pop(files, None) is not None:
            files.reference_counts[files.folder] -= 1

    def get(self, files: AdapterFiles) -> Weights:
        """Raises what loading raises: OSError, ValueError or AdapterRefused."""
        if files not in self._loaded:
            self._loaded[files] = self._load(files)
            files.reference_counts[files.folder] += 1
        self._loaded.move_to_end(files)
        # Rows that use an adapter hold it themselves, so dropping it here takes it from nobody.
        while (
            len(self._loaded) > 1 and sum(w.nbytes for w in self._loaded.values()) > self._max_bytes
        ):
            dropped, _ = self._loaded.popitem(last=False)
            dropped.reference_counts[dropped.folder] -= 1
        return self._loaded[files]
