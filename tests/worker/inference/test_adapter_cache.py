"""The adapter caches: downloads, eviction from disk, and the memory budget."""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.storage import LocalStore, UnsafeKey
from worker.inference.adapter_cache import AdapterDiskCache, DamagedStoredAdapter
from worker.inference.adapter_format import InvalidAdapter
from worker.inference.adapter_memory import AdapterFiles, AdapterMemoryCache, DamagedLocalAdapter
from worker.inference.metrics import REGISTRY

PREFIX = "projects/p/jobs/j/attempt-1/step-6"
CONFIG = json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}).encode()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "storage")


@pytest.fixture
def folder(store: LocalStore, tmp_path: Path) -> AdapterDiskCache:
    return AdapterDiskCache(store, tmp_path / "adapters")


def store_adapter(store: LocalStore, prefix: str = PREFIX, config: bytes = CONFIG) -> None:
    store.put(f"{prefix}/adapter_config.json", config)
    store.put(f"{prefix}/adapter_model.safetensors", b"weights")
    store.put(f"{prefix}/manifest.json", make_manifest(config, b"weights"))


def make_manifest(config: bytes, weights: bytes) -> bytes:
    contents = {"adapter_config.json": config, "adapter_model.safetensors": weights}
    files = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in contents.items()
    }
    return json.dumps({"files": files}).encode()


def count_damaged() -> float:
    return REGISTRY.get_sample_value("luthier_engine_damaged_files_total") or 0


FILES = ("adapter_config.json", "adapter_model.safetensors", "manifest.json")


def flip_a_bit(data: bytes) -> bytes:
    """Flip one bit in the middle of a digit or letter."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def cut_off(data: bytes) -> bytes:
    return data[:-1]


@pytest.mark.parametrize("damage", [flip_a_bit, cut_off])
@pytest.mark.parametrize("name", FILES)
class TestA59Damage:
    def test_a59_a_damaged_local_copy_is_fetched_again(
        self,
        store: LocalStore,
        folder: AdapterDiskCache,
        name: str,
        damage: Callable[[bytes], bytes],
    ) -> None:
        store_adapter(store)
        path = folder.fetch(PREFIX).folder / name
        path.write_bytes(damage(path.read_bytes()))
        damaged = count_damaged()
        files = folder.fetch(PREFIX)
        assert (files.folder / name).read_bytes() == store.get(f"{PREFIX}/{name}")
        assert count_damaged() == damaged + 1

    def test_a59_a_copy_damaged_while_it_is_served_is_not_loaded(
        self,
        store: LocalStore,
        folder: AdapterDiskCache,
        name: str,
        damage: Callable[[bytes], bytes],
    ) -> None:
        store_adapter(store)
        files = folder.fetch(PREFIX)
        path = files.folder / name
        path.write_bytes(damage(path.read_bytes()))
        memory = AdapterMemoryCache(lambda files: Weights(40))
        with pytest.raises(DamagedLocalAdapter):
            memory.get(files)
        assert not files.touch(), "it has to be fetched again"
        assert memory.get(folder.fetch(PREFIX)) == Weights(40)

    def test_a59_an_adapter_damaged_in_storage_is_refused_until_it_is_repaired(
        self,
        store: LocalStore,
        folder: AdapterDiskCache,
        name: str,
        damage: Callable[[bytes], bytes],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        store_adapter(store)
        store.put(f"{PREFIX}/{name}", damage(store.get(f"{PREFIX}/{name}")))
        downloads = []
        download = store.download

        def count(key: str, path: Path) -> None:
            downloads.append(key)
            download(key, path)

        monkeypatch.setattr(store, "download", count)
        for _ in range(5):
            with pytest.raises(DamagedStoredAdapter):
                folder.fetch(PREFIX)
        assert len(downloads) == 4, "two files, at most twice"
        store_adapter(store)
        monkeypatch.setattr("worker.inference.adapter_cache.DAMAGE_MEMORY_SECONDS", 0.0)
        assert (folder.fetch(PREFIX).folder / "adapter_model.safetensors").exists()


def test_an_adapter_without_a_manifest_is_served(
    store: LocalStore, folder: AdapterDiskCache
) -> None:
    store_adapter(store)
    store.delete(f"{PREFIX}/manifest.json")
    damaged = count_damaged()
    assert folder.fetch(PREFIX) == folder.fetch(PREFIX)
    assert count_damaged() == damaged


def test_a63_a_discarded_adapter_is_not_on_disk(
    store: LocalStore, folder: AdapterDiskCache
) -> None:
    store_adapter(store)
    files = folder.fetch(PREFIX)
    folder.discard(PREFIX)
    folder.discard(PREFIX)
    assert not list(files.folder.parent.iterdir())


class TestFetch:
    def test_an_adapter_is_downloaded_once(
        self, store: LocalStore, folder: AdapterDiskCache
    ) -> None:
        store_adapter(store)
        files = folder.fetch(PREFIX)
        assert (files.folder / "adapter_model.safetensors").read_bytes() == b"weights"
        store.delete(f"{PREFIX}/adapter_model.safetensors")
        assert folder.fetch(PREFIX) == files

    def test_a_missing_adapter_leaves_no_files(
        self, store: LocalStore, folder: AdapterDiskCache, tmp_path: Path
    ) -> None:
        store.put(f"{PREFIX}/adapter_config.json", CONFIG)
        with pytest.raises(FileNotFoundError):
            folder.fetch(PREFIX)
        assert list((tmp_path / "adapters").iterdir()) == []

    def test_concurrent_fetches_share_one_folder(
        self, store: LocalStore, folder: AdapterDiskCache, tmp_path: Path
    ) -> None:
        store_adapter(store)
        with ThreadPoolExecutor(8) as pool:
            fetched = set(pool.map(folder.fetch, [PREFIX] * 16))
        assert len(fetched) == 1
        assert len(list((tmp_path / "adapters").iterdir())) == 1

    @pytest.mark.parametrize("prefix", ["../../etc", "/etc", "a//b", "a/../b"])
    def test_an_unsafe_prefix_is_rejected(self, folder: AdapterDiskCache, prefix: str) -> None:
        with pytest.raises(UnsafeKey):
            folder.fetch(prefix)

    def test_an_unsupported_adapter_type_is_rejected(
        self, store: LocalStore, folder: AdapterDiskCache
    ) -> None:
        store_adapter(store, config=b'{"peft_type": "LOHA"}')
        with pytest.raises(InvalidAdapter):
            folder.fetch(PREFIX)


class TestDisk:
    @pytest.fixture
    def small_cache(self, store: LocalStore, tmp_path: Path) -> AdapterDiskCache:
        """A cache with room for two adapters."""
        return AdapterDiskCache(
            store,
            tmp_path / "adapters",
            max_bytes=2 * len(CONFIG + b"weights" + make_manifest(CONFIG, b"weights")),
        )

    def fetch(self, store: LocalStore, folder: AdapterDiskCache, number: int) -> AdapterFiles:
        """Fetch an adapter and set its last use to second `number`."""
        store_adapter(store, f"{PREFIX}{number}")
        files = folder.fetch(f"{PREFIX}{number}")
        os.utime(files.folder, (number, number))
        return files

    def test_only_old_leftovers_of_killed_processes_are_removed(
        self, store: LocalStore, tmp_path: Path
    ) -> None:
        files = AdapterDiskCache(store, tmp_path / "adapters")
        store_adapter(store)
        complete = files.fetch(PREFIX)
        old_leftover, recent_leftover = (
            complete.folder.with_name(f".x.{token}") for token in ("0123", "4567")
        )
        for path in (old_leftover, recent_leftover):
            path.mkdir()
            (path / "adapter_config.json").write_bytes(CONFIG)
        os.utime(old_leftover, (1, 1))
        AdapterDiskCache(store, tmp_path / "adapters")
        assert set((tmp_path / "adapters").iterdir()) == {complete.folder, recent_leftover}

    def test_the_least_recently_used_is_evicted(
        self, store: LocalStore, small_cache: AdapterDiskCache
    ) -> None:
        first, second = (self.fetch(store, small_cache, number) for number in (1, 2))
        assert first.touch()
        third = self.fetch(store, small_cache, 3)
        assert [files.folder.exists() for files in (first, second, third)] == [True, False, True]
        assert not second.touch()
        assert small_cache.fetch(second.prefix).folder.exists(), (
            "it is downloaded again when needed"
        )

    def test_adapters_in_memory_are_not_evicted(
        self, store: LocalStore, small_cache: AdapterDiskCache
    ) -> None:
        memory = AdapterMemoryCache(lambda files: Weights(40), max_bytes=50)
        first = self.fetch(store, small_cache, 1)
        memory.get(first)
        second, third = (self.fetch(store, small_cache, number) for number in (2, 3))
        assert [files.folder.exists() for files in (first, second, third)] == [True, False, True]
        memory.get(third)
        self.fetch(store, small_cache, 4)
        assert not first.folder.exists(), "it was evicted from memory"
        assert third.folder.exists()


@dataclass
class Weights:
    nbytes: int


class TestMemory:
    @pytest.fixture
    def loaded_prefixes(self) -> list[str]:
        return []

    @pytest.fixture
    def load(self, loaded_prefixes: list[str]) -> Callable[[AdapterFiles], Weights]:
        def load(files: AdapterFiles) -> Weights:
            loaded_prefixes.append(files.prefix)
            return Weights(40)

        return load

    def test_the_least_recently_used_is_evicted(
        self,
        load: Callable[[AdapterFiles], Weights],
        loaded_prefixes: list[str],
        store: LocalStore,
        folder: AdapterDiskCache,
    ) -> None:
        memory = AdapterMemoryCache(load, max_bytes=100)
        for name in "abc":
            store_adapter(store, name)
        a, b, c = (folder.fetch(name) for name in "abc")
        for files in (a, b, a, c, a, b):
            memory.get(files)
        assert loaded_prefixes == ["a", "b", "c", "b"]

    def test_a_single_adapter_may_exceed_the_budget(
        self,
        load: Callable[[AdapterFiles], Weights],
        loaded_prefixes: list[str],
        store: LocalStore,
        folder: AdapterDiskCache,
    ) -> None:
        memory = AdapterMemoryCache(load, max_bytes=10)
        store_adapter(store, "a")
        files = folder.fetch("a")
        assert memory.get(files) is memory.get(files)
        assert loaded_prefixes == ["a"]

    def test_an_adapter_is_loaded_ahead(
        self,
        load: Callable[[AdapterFiles], Weights],
        loaded_prefixes: list[str],
        store: LocalStore,
        folder: AdapterDiskCache,
    ) -> None:
        memory = AdapterMemoryCache(load, max_bytes=50)
        for name in "ab":
            store_adapter(store, name)
        a, b = (folder.fetch(name) for name in "ab")
        for files in (a, b):
            memory.preload(files)
        assert [memory.is_loaded(files) for files in (a, b)] == [False, True], "40 bytes of 50"
        memory.get(b)
        assert loaded_prefixes == ["a", "b"]

    def test_an_adapter_deleted_while_it_is_loaded_ahead_is_not_kept(
        self, store: LocalStore, folder: AdapterDiskCache
    ) -> None:
        def load_and_delete(files: AdapterFiles) -> Weights:
            memory.discard(files)
            return Weights(40)

        memory = AdapterMemoryCache(load_and_delete)
        store_adapter(store, "a")
        files = folder.fetch("a")
        memory.preload(files)
        assert not memory.is_loaded(files)
        assert files.reference_counts[files.folder] == 0
