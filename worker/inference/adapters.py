"""Adapters: fetched from storage once, kept on disk, the latest used in memory."""

import hashlib
import secrets
import shutil
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from app.storage import BlobStore, inside
from worker.inference.adapter_format import check_config
from worker.modeling import ADAPTER_CONFIG, ADAPTER_WEIGHTS

# Bytes of adapters that one base model keeps in memory.
MEMORY_BUDGET = 2**30


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """An adapter on disk in PEFT's format. What lies under a prefix never changes."""

    prefix: str
    folder: Path


class AdapterFolder:
    """The adapters that were fetched once, each renamed into place when it was whole."""

    def __init__(self, store: BlobStore, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def fetch(self, prefix: str) -> AdapterFiles:
        """The adapter below `prefix` in storage.

        Raises FileNotFoundError, UnsafeKey, StorageUnavailable, or AdapterRefused.
        """
        place = self._folder / hashlib.sha256(prefix.encode()).hexdigest()[:32]
        if not place.exists():
            self._download(prefix, place)
        check_config(place)
        return AdapterFiles(prefix, place)

    def _download(self, prefix: str, place: Path) -> None:
        aside = self._folder / f".{place.name}.{secrets.token_hex(4)}"
        aside.mkdir(parents=True)
        try:
            for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
                self._store.download(inside(prefix, name), aside / name)
            aside.rename(place)
        except OSError:
            # Another request may have put the same adapter there meanwhile.
            if not place.exists():
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


class Sized(Protocol):
    @property
    def size(self) -> int:
        """Bytes in memory."""


Weights = TypeVar("Weights", bound=Sized)


class AdapterMemory(Generic[Weights]):
    """The adapters used last, up to a number of bytes; others are read from disk again."""

    def __init__(
        self, load: Callable[[AdapterFiles], Weights], *, budget: int = MEMORY_BUDGET
    ) -> None:
        self._load = load
        self._budget = budget
        self._held: OrderedDict[AdapterFiles, Weights] = OrderedDict()

    def get(self, files: AdapterFiles) -> Weights:
        """Raises what loading raises: OSError, ValueError or AdapterRefused."""
        if files not in self._held:
            self._held[files] = self._load(files)
        self._held.move_to_end(files)
        # Rows that use an adapter hold it themselves, so dropping it here takes it from nobody.
        while len(self._held) > 1 and sum(w.size for w in self._held.values()) > self._budget:
            self._held.popitem(last=False)
        return self._held[files]
