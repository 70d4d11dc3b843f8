import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.storage import LocalStore, UnsafeKey
from worker.inference.adapter_cache import AdapterDiskCache, AdapterFiles, AdapterMemoryCache
from worker.inference.adapter_format import InvalidAdapter

PREFIX = "projects/p/jobs/j/e1/step-6"
CONFIG = json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}).encode()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "storage")


@pytest.fixture
def folder(store: LocalStore, tmp_path: Path) -> AdapterDiskCache:
    return AdapterDiskCache(store, tmp_path / "adapters")


def put(store: LocalStore, prefix: str = PREFIX, config: bytes = CONFIG) -> None:
    store.put(f"{prefix}/adapter_config.json", config)
    store.put(f"{prefix}/adapter_model.safetensors", b"weights")


class TestFetch:
    def test_once(self, store: LocalStore, folder: AdapterDiskCache) -> None:
        put(store)
        files = folder.fetch(PREFIX)
        assert (files.folder / "adapter_model.safetensors").read_bytes() == b"weights"
        store.delete(f"{PREFIX}/adapter_model.safetensors")
        assert folder.fetch(PREFIX) == files

    def test_what_is_not_there_leaves_nothing_behind(
        self, store: LocalStore, folder: AdapterDiskCache, tmp_path: Path
    ) -> None:
        store.put(f"{PREFIX}/adapter_config.json", CONFIG)
        with pytest.raises(FileNotFoundError):
            folder.fetch(PREFIX)
        assert list((tmp_path / "adapters").iterdir()) == []

    def test_by_many_at_once(
        self, store: LocalStore, folder: AdapterDiskCache, tmp_path: Path
    ) -> None:
        put(store)
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(folder.fetch, [PREFIX] * 16))
        assert len(found) == 1
        assert len(list((tmp_path / "adapters").iterdir())) == 1

    @pytest.mark.parametrize("prefix", ["../../etc", "/etc", "a//b", "a/../b"])
    def test_paths_are_no_prefixes(self, folder: AdapterDiskCache, prefix: str) -> None:
        with pytest.raises(UnsafeKey):
            folder.fetch(prefix)

    def test_a_kind_that_is_not_served(self, store: LocalStore, folder: AdapterDiskCache) -> None:
        put(store, config=b'{"peft_type": "LOHA"}')
        with pytest.raises(InvalidAdapter):
            folder.fetch(PREFIX)


class TestDisk:
    @pytest.fixture
    def small(self, store: LocalStore, tmp_path: Path) -> AdapterDiskCache:
        """Has room for two adapters."""
        return AdapterDiskCache(
            store, tmp_path / "adapters", max_bytes=2 * len(CONFIG + b"weights")
        )

    def fetched(self, store: LocalStore, folder: AdapterDiskCache, number: int) -> AdapterFiles:
        """An adapter last used at second `number`."""
        put(store, f"{PREFIX}{number}")
        files = folder.fetch(f"{PREFIX}{number}")
        os.utime(files.folder, (number, number))
        return files

    def test_what_a_killed_process_left_is_swept_and_nothing_else(
        self, store: LocalStore, tmp_path: Path
    ) -> None:
        files = AdapterDiskCache(store, tmp_path / "adapters")
        put(store)
        whole = files.fetch(PREFIX)
        left, fetching = (whole.folder.with_name(f".x.{token}") for token in ("0123", "4567"))
        for half in (left, fetching):
            half.mkdir()
            (half / "adapter_config.json").write_bytes(CONFIG)
        os.utime(left, (1, 1))
        AdapterDiskCache(store, tmp_path / "adapters")
        assert set((tmp_path / "adapters").iterdir()) == {whole.folder, fetching}

    def test_the_least_recently_used_goes(self, store: LocalStore, small: AdapterDiskCache) -> None:
        first, second = (self.fetched(store, small, number) for number in (1, 2))
        assert first.touch()
        third = self.fetched(store, small, 3)
        assert [files.folder.exists() for files in (first, second, third)] == [True, False, True]
        assert not second.touch()
        assert small.fetch(second.prefix).folder.exists(), "it is fetched again when needed"

    def test_what_memory_holds_stays(self, store: LocalStore, small: AdapterDiskCache) -> None:
        memory = AdapterMemoryCache(lambda files: Weights(40), max_bytes=50)
        first = self.fetched(store, small, 1)
        memory.get(first)
        second, third = (self.fetched(store, small, number) for number in (2, 3))
        assert [files.folder.exists() for files in (first, second, third)] == [True, False, True]
        memory.get(third)
        self.fetched(store, small, 4)
        assert not first.folder.exists(), "memory has dropped it"
        assert third.folder.exists()


@dataclass
class Weights:
    nbytes: int


class TestMemory:
    @pytest.fixture
    def loaded(self) -> list[str]:
        return []

    @pytest.fixture
    def load(self, loaded: list[str]) -> Callable[[AdapterFiles], Weights]:
        def load(files: AdapterFiles) -> Weights:
            loaded.append(files.prefix)
            return Weights(40)

        return load

    def test_the_least_recently_used_goes(
        self, load: Callable[[AdapterFiles], Weights], loaded: list[str]
    ) -> None:
        memory = AdapterMemoryCache(load, max_bytes=100)
        a, b, c = (AdapterFiles(name, Path(name)) for name in "abc")
        for files in (a, b, a, c, a, b):
            memory.get(files)
        assert loaded == ["a", "b", "c", "b"]

    def test_one_that_is_larger_than_all_may_stay(
        self, load: Callable[[AdapterFiles], Weights], loaded: list[str]
    ) -> None:
        memory = AdapterMemoryCache(load, max_bytes=10)
        files = AdapterFiles("a", Path("a"))
        assert memory.get(files) is memory.get(files)
        assert loaded == ["a"]
