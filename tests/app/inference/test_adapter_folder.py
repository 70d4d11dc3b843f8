"""The folder of adapters that other engines read: broken copies, and deletions while in use."""

import errno
import hashlib
import json
import struct
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.catalog import Catalog, CatalogModel
from app.engine_options import EngineKind, EngineOptions
from app.errors import ModelDamaged
from app.inference import adapter_folder
from app.inference.adapter_folder import (
    ADAPTER_FILES,
    CONFIG_FILE,
    AdapterFolder,
    adapter_name,
)
from app.inference.adapter_loading import AdapterLoader
from app.inference.engine_connection import EngineConnection
from app.inference.engine_errors import EngineUnavailable, NotSupportedByEngine
from app.inference.replicas import Replica
from app.manifests import MANIFEST_FILE
from app.models.registry import ResolvedModel
from app.settings import Settings
from app.storage.local import LocalStore

PREFIX = "projects/p/jobs/j/attempt-1/step-1"
MODELS = Path(__file__).resolve().parents[2] / "models.toml"
WEIGHTS_FILE = ADAPTER_FILES[1]
HEADER = b"{}"
WEIGHTS = struct.pack("<Q", len(HEADER)) + HEADER

pytestmark = pytest.mark.anyio


class CountedStore(LocalStore):
    """A store that counts its downloads of weights."""

    num_downloads = 0

    def download(self, key: str, path: Path) -> None:
        self.num_downloads += key.endswith(".safetensors")
        super().download(key, path)


@pytest.fixture
def base() -> CatalogModel:
    return replace(next(iter(Catalog.load(MODELS))), engine="http://vllm.example")


@pytest.fixture
def model(base: CatalogModel) -> ResolvedModel:
    return ResolvedModel("ft:m", base, PREFIX)


@pytest.fixture
def store(tmp_path: Path, base: CatalogModel) -> CountedStore:
    store = CountedStore(tmp_path / "store")
    store_config(store, {"peft_type": "LORA", "r": 8, "base_model_name_or_path": base.id})
    store.put(f"{PREFIX}/adapter_model.safetensors", WEIGHTS)
    return store


@pytest.fixture
def folder(settings: Settings) -> Path:
    """Where the adapter lies."""
    return settings.home / "cache" / "engine-adapters" / adapter_name(PREFIX)


@pytest.fixture
def adapters(store: CountedStore, folder: Path) -> AdapterFolder:
    return AdapterFolder(store, folder.parent, max_bytes=2**20)


@pytest.fixture
async def loader(settings: Settings, store: CountedStore) -> AdapterLoader:
    connection = EngineConnection(settings, read_timeout_seconds=1)
    await connection.close()
    return AdapterLoader(settings, store, connection)


def store_config(store: CountedStore, config: dict[str, Any]) -> None:
    store.put(f"{PREFIX}/{CONFIG_FILE}", json.dumps(config).encode())


def vllm() -> Replica:
    return Replica("http://vllm.example", EngineKind.VLLM, "base", is_trusted=False)


def store_weights(store: CountedStore) -> None:
    """Store a tensor, and the manifest that jobs write."""
    header = json.dumps({"t.lora_A.weight": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}})
    weights = struct.pack("<Q", len(header)) + header.encode() + b"a"
    store.put(f"{PREFIX}/{WEIGHTS_FILE}", weights)
    files = {}
    for name in ADAPTER_FILES:
        data = store.get(f"{PREFIX}/{name}")
        files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    store.put(f"{PREFIX}/{MANIFEST_FILE}", json.dumps({"files": files}).encode())


def flip_last_byte(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def let_the_engine_load(loader: AdapterLoader, folder: Path) -> list[bytes]:
    """Have the engine load whatever it is asked to; returns the weights that it read."""
    loaded: list[bytes] = []

    def answer(_: httpx.Request) -> httpx.Response:
        loaded.append((folder / WEIGHTS_FILE).read_bytes())
        return httpx.Response(200)

    loader._connection.client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return loaded


def let_the_engine_serve_others(loader: AdapterLoader) -> None:
    """Two models, neither of which is the base model."""
    models = {"data": [{"id": "a", "owned_by": "vllm"}, {"id": "b"}]}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=models))
    loader._connection.client = httpx.AsyncClient(transport=transport)


class TestFolder:
    def test_a_folder_without_its_config_is_replaced(
        self, adapters: AdapterFolder, folder: Path, store: CountedStore
    ) -> None:
        folder.mkdir(parents=True)
        (folder / "rest").touch()
        adapters.lease(PREFIX).release()
        assert store.num_downloads == 1
        assert not (folder / "rest").exists()
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]

    def test_downloads_for_one_request_are_bounded(
        self, adapters: AdapterFolder, store: CountedStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(adapter_folder, "_lock_existing", lambda _: None)
        with pytest.raises(OSError, match="removed whenever it is fetched"):
            adapters.lease(PREFIX)
        assert store.num_downloads == 3

    def test_discarded_files_are_removed_with_the_last_lease(
        self, adapters: AdapterFolder, folder: Path
    ) -> None:
        first, second = adapters.lease(PREFIX), adapters.lease(PREFIX)
        assert not adapters.discard(PREFIX)
        first.release()
        assert (folder / CONFIG_FILE).exists()
        second.release()
        assert list(folder.parent.iterdir()) == []


class TestLoader:
    @pytest.mark.parametrize("name", [CONFIG_FILE, "adapter_model.safetensors"])
    @pytest.mark.parametrize("left", [b"", None])
    async def test_a_copy_that_is_damaged_here_is_fetched_again(
        self,
        loader: AdapterLoader,
        model: ResolvedModel,
        folder: Path,
        store: CountedStore,
        name: str,
        left: bytes | None,
    ) -> None:
        """As after a power loss, or the hand of an operator."""
        loader._folder(model.base).lease(PREFIX).release()
        (folder / name).unlink() if left is None else (folder / name).write_bytes(left)
        async with AsyncExitStack() as stack:
            assert (await loader.place(vllm(), model, stack)).name == adapter_name(PREFIX)
        assert store.num_downloads == 2

    async def test_a_copy_whose_tensors_were_changed_is_fetched_again(
        self, loader: AdapterLoader, model: ResolvedModel, folder: Path, store: CountedStore
    ) -> None:
        """By another process, before this one first uses it: the header is still as it was."""
        store_weights(store)
        loader._folder(model.base).lease(PREFIX).release()
        flip_last_byte(folder / WEIGHTS_FILE)
        async with AsyncExitStack() as stack:
            await loader.place(vllm(), model, stack)
        assert (folder / WEIGHTS_FILE).read_bytes() == store.get(f"{PREFIX}/{WEIGHTS_FILE}")
        assert store.num_downloads == 2

    async def test_a_copy_that_changed_is_not_loaded_by_a_restarted_engine(
        self, loader: AdapterLoader, model: ResolvedModel, folder: Path, store: CountedStore
    ) -> None:
        store_weights(store)
        loaded = let_the_engine_load(loader, folder)
        for _ in range(2):
            async with AsyncExitStack() as stack:
                adapter = await loader.place(vllm(), model, stack)
                await loader.load(vllm(), model, adapter)
        flip_last_byte(folder / WEIGHTS_FILE)
        async with AsyncExitStack() as stack:
            adapter = await loader.place(vllm(), model, stack)
            with pytest.raises(EngineUnavailable, match="Please retry"):
                await loader.load(vllm(), model, adapter)
        async with AsyncExitStack() as stack:
            adapter = await loader.place(vllm(), model, stack)
            await loader.load(vllm(), model, adapter)
        assert loaded == [store.get(f"{PREFIX}/{WEIGHTS_FILE}")] * 3

    @pytest.mark.parametrize("adapters", ["", "cache/engine-adapters"])
    async def test_the_lowest_limit_of_a_shared_folder_counts(
        self, settings: Settings, store: CountedStore, base: CatalogModel, adapters: str
    ) -> None:
        """Whichever is asked first, and whether or not the folder is named."""
        path = str(settings.home / adapters) if adapters else ""
        low = replace(
            base, id="low", aliases=(), engine_options=EngineOptions(adapters_max_bytes=10)
        )
        high = replace(base, engine_options=EngineOptions(adapters=path))
        connection = EngineConnection(settings, read_timeout_seconds=1)
        await connection.close()
        loader = AdapterLoader(settings, store, connection, Catalog([high, low]))
        store_weights(store)
        with pytest.raises(EngineUnavailable):
            async with AsyncExitStack() as stack:
                await loader.place(vllm(), ResolvedModel("ft:m", high, PREFIX), stack)

    async def test_an_adapter_that_is_damaged_in_storage_is_not_fetched_for_each_request(
        self, loader: AdapterLoader, model: ResolvedModel, store: CountedStore
    ) -> None:
        store.put(f"{PREFIX}/adapter_model.safetensors", b"no adapter")
        for _ in range(3):
            async with AsyncExitStack() as stack:
                with pytest.raises(ModelDamaged):
                    await loader.place(vllm(), model, stack)
        assert store.num_downloads == 2

    async def test_too_many_open_files_say_nothing_about_the_adapter(
        self, loader: AdapterLoader, model: ResolvedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise OSError(errno.EMFILE, "too many open files")

        monkeypatch.setattr("app.inference.adapter_loading.check_adapter", fail)
        async with AsyncExitStack() as stack:
            with pytest.raises(EngineUnavailable, match="Please retry"):
                await loader.place(vllm(), model, stack)

    async def test_a_deleted_model_of_an_engine_with_other_models_leaves_no_files(
        self, loader: AdapterLoader, model: ResolvedModel, folder: Path
    ) -> None:
        loader._folder(model.base).lease(PREFIX).release()
        let_the_engine_serve_others(loader)
        replica = Replica("http://vllm.example", None, None, is_trusted=False)
        await loader.unload([replica], model)
        assert list(folder.parent.iterdir()) == []

    @pytest.mark.parametrize(
        "change",
        [
            {"base_model_name_or_path": ["a", "b"]},
            {"r": None},
            {"r": "8"},
            {"rank_pattern": [8]},
            {"rank_pattern": {"q_proj": None}},
        ],
    )
    async def test_an_odd_config_is_refused_with_a_sentence(
        self,
        loader: AdapterLoader,
        model: ResolvedModel,
        store: CountedStore,
        change: dict[str, Any],
    ) -> None:
        config = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": model.base.id}
        store_config(store, config | change)
        async with AsyncExitStack() as stack:
            with pytest.raises(NotSupportedByEngine, match="its adapter"):
                await loader.place(vllm(), model, stack)
