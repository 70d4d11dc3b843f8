"""A thousand adapters with Zipf traffic: bounded disk and memory, and each model's own weights."""

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.storage import LocalStore
from tests.worker.inference.test_adapter_cache import CONFIG, make_manifest
from worker.inference.adapter_cache import AdapterDiskCache, DamagedStoredAdapter
from worker.inference.adapter_memory import AdapterFiles, AdapterMemoryCache
from worker.modeling import ADAPTER_WEIGHTS_FILE

ADAPTERS = 1000
REQUESTS = 600
ADAPTER_BYTES = 1000
ON_DISK = 100
IN_MEMORY = 20


@dataclass(frozen=True)
class Contents:
    """What stands for an adapter's weights: the bytes of its file."""

    data: bytes

    @property
    def nbytes(self) -> int:
        return len(self.data)


def weights_of(number: int) -> bytes:
    return f"weights of {number}".encode().ljust(ADAPTER_BYTES)


def key_of(number: int) -> str:
    return f"projects/p/jobs/{number}/attempt-1/step-1"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A store of files written without waiting for the disk, which takes it a minute."""
    for number in range(ADAPTERS):
        weights = weights_of(number)
        folder = tmp_path / "storage" / key_of(number)
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_bytes(CONFIG)
        (folder / ADAPTER_WEIGHTS_FILE).write_bytes(weights)
        (folder / "manifest.json").write_bytes(make_manifest(CONFIG, weights))
    return LocalStore(tmp_path / "storage")


def test_zipf_traffic_over_a_thousand_adapters(store: LocalStore, tmp_path: Path) -> None:
    folder_bytes = len(CONFIG) + ADAPTER_BYTES + len(make_manifest(CONFIG, weights_of(0)))
    disk = AdapterDiskCache(store, tmp_path / "adapters", max_bytes=ON_DISK * folder_bytes)
    loaded: set[AdapterFiles] = set()

    def load(files: AdapterFiles) -> Contents:
        loaded.add(files)
        return Contents((files.folder / ADAPTER_WEIGHTS_FILE).read_bytes())

    memory = AdapterMemoryCache(load, max_bytes=IN_MEMORY * ADAPTER_BYTES)
    damaged = 3
    store.put(f"{key_of(damaged)}/{ADAPTER_WEIGHTS_FILE}", weights_of(damaged + 1))
    ranks = range(1, ADAPTERS + 1)
    draw = random.Random(0)
    for number in draw.choices(range(ADAPTERS), [1 / rank for rank in ranks], k=REQUESTS):
        if number == damaged:
            # Another model's weights under this one's name are refused, not answered with.
            with pytest.raises(DamagedStoredAdapter):
                disk.fetch(key_of(number))
            continue
        contents = memory.get(disk.fetch(key_of(number)))
        assert contents.data == weights_of(number)
    assert len(loaded) > ON_DISK
    in_memory = [files for files in loaded if files.reference_counts[files.folder]]
    assert len(in_memory) <= IN_MEMORY
    on_disk = [path for path in (tmp_path / "adapters").iterdir() if not path.name.startswith(".")]
    assert len(on_disk) <= ON_DISK + IN_MEMORY
