"""Registry of causal models: base models, loaded on first use, and adapters on them."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app import logs
from app.catalog import Catalog, CatalogModel, ModelKind
from app.errors import InvalidRequest, ModelNotFound
from app.settings import Settings
from app.storage.object_keys import validate_key
from app.wire.engine import LoadAdapterRequest
from app.wire.training_rows import ModelFacts
from worker.bucket_models import fetch_from_bucket
from worker.inference.adapter_cache import AdapterDiskCache
from worker.inference.adapter_format import read_rendering_options
from worker.inference.adapter_memory import AdapterFiles, DamagedLocalAdapter
from worker.inference.engine_thread import EngineThread
from worker.inference.loaded_model import (
    LoadedModel,
    ModelRendering,
    load_model,
    load_rendering,
)
from worker.inference.loading import ModelCache, map_adapter_errors, run_in_thread
from worker.inference.metrics import EngineStats
from worker.inference.training_rows.facts import measure_gigaflops, read_facts
from worker.model.rendering import DEFAULT_OPTIONS, RenderingOptions

# Adapters loaded into memory at the same time.
MAX_PRELOADS = 2

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServedCausalModel:
    """A resolved model name: a base model and, for a fine-tuned model, its adapter."""

    name: str
    base: LoadedModel
    adapter: AdapterFiles | None
    # Of the adapter's training job.
    rendering_options: RenderingOptions = DEFAULT_OPTIONS


@dataclass(frozen=True, slots=True)
class _AdapterEntry:
    base: CatalogModel
    files: AdapterFiles
    rendering_options: RenderingOptions


class ModelRegistry:
    """Resolves model names. Lives on the server's event loop; loads models in threads."""

    def __init__(
        self, catalog: Catalog, settings: Settings, *, cache: Path, adapters: AdapterDiskCache
    ) -> None:
        self._catalog = catalog
        self._adapters = adapters
        self._model_cache = ModelCache(lambda model: _fetch_and_load(model, cache, settings))
        self._renderings = ModelCache(lambda model: load_rendering(model, cache))
        self._facts = ModelCache(lambda model: read_facts(model, cache))
        # The fastest products that were measured, by their width.
        self._gigaflops: dict[int, float] = {}
        self._adapter_entries: dict[str, _AdapterEntry] = {}
        # Adapters that are being loaded into memory.
        self._preloads: dict[AdapterFiles, asyncio.Future[None]] = {}
        # What is being loaded is in memory beyond the cache's limit.
        self._preload_slots = asyncio.Semaphore(MAX_PRELOADS)
        self.is_ready = False

    async def warm_up(self) -> None:
        """Load the first base model, so that the first request does not wait for it."""
        first_model = next(self._local_models(), None)
        if first_model is not None:
            await self._model_cache.get(first_model)
        self.is_ready = True

    def list_names(self) -> list[str]:
        return [*(model.id for model in self._local_models()), *self._adapter_entries]

    def has_model(self, name: str) -> bool:
        return name in self._adapter_entries or self._find_base(name) is not None

    def engine_stats(self) -> dict[str, EngineStats]:
        """Return the stats of the loaded base models, by id."""
        return {name: base.engine.stats for name, base in self._model_cache.loaded().items()}

    async def resolve(self, name: str) -> ServedCausalModel:
        """Resolve a name, loading its base model if needed.

        Raises NotFound, or ServiceUnavailable if the base model cannot be loaded.
        """
        entry = self._adapter_entries.get(name)
        if entry is not None and entry.files.touch():
            base = await self._model_cache.get(entry.base)
            await self._preload(base, entry.files)
            return ServedCausalModel(name, base, entry.files, entry.rendering_options)
        model = self._find_base(name)
        if model is None:
            # If the disk cache was emptied, the API loads the unknown adapter again and retries.
            self._adapter_entries.pop(name, None)
            raise ModelNotFound(name)
        return ServedCausalModel(name, await self._model_cache.get(model), None)

    async def _preload(self, base: LoadedModel, files: AdapterFiles) -> None:
        """Load an adapter into memory beside the engine's thread: once for all that wait for it."""
        loading = self._preloads.get(files)
        if loading is None:
            preload = base.engine.decoder.preload_adapter(files)
            if preload is None:
                return
            loading = self._preloads[files] = asyncio.ensure_future(self._run_preload(preload))
            loading.add_done_callback(lambda _: self._preloads.pop(files))
        # What fails here fails again, with its error, where the adapter is needed.
        with suppress(DamagedLocalAdapter, OSError, ValueError):
            await asyncio.shield(loading)

    async def _run_preload(self, preload: Callable[[], None]) -> None:
        async with self._preload_slots:
            await run_in_thread(preload)

    async def get_rendering(self, name: str) -> ModelRendering:
        """Return a base model's renderer, without loading the model.

        Raises NotFound, or ServiceUnavailable if the model is not on this machine.
        """
        model = self._find_base(name)
        if model is None:
            raise ModelNotFound(name)
        loaded = self._model_cache.loaded().get(model.id)
        if loaded is not None:
            return ModelRendering(loaded.renderer, loaded.rendering)
        return await self._renderings.get(model)

    async def get_facts(self, name: str) -> ModelFacts:
        """Return what is known of a base model of any kind, without loading it.

        Raises NotFound, or ServiceUnavailable if the model is not on this machine.
        """
        model = self._catalog.get(name)
        if model is None or model.engine is not None:
            raise ModelNotFound(name)
        facts = await self._facts.get(model)
        # Each time anew: other work may have had the processor before, as after a start.
        measured = await run_in_thread(partial(measure_gigaflops, facts.hidden_size))
        fastest = max(measured, self._gigaflops.get(facts.hidden_size, 0.0))
        self._gigaflops[facts.hidden_size] = fastest
        return facts.model_copy(update={"gigaflops": fastest})

    async def load_adapter(self, request: LoadAdapterRequest) -> None:
        """Register an adapter under a name.

        Raises NotFound, ServiceUnavailable, or InvalidRequest if the adapter does not fit.
        """
        base = self._find_base(request.base_model_name)
        if base is None:
            raise ModelNotFound(request.base_model_name)
        if self._find_base(request.lora_name) is not None:
            raise InvalidRequest("This is the name of a base model.", param="lora_name")
        entry = self._adapter_entries.get(request.lora_name)
        if entry and entry.files.prefix == request.lora_path and entry.files.touch():
            return
        loaded = await self._model_cache.get(base)
        fetch = partial(self._fetch_adapter, request.lora_path, base, loaded)
        self._adapter_entries[request.lora_name] = await run_in_thread(fetch)
        log.info("adapter.loaded", model=request.lora_name)

    def unload_adapter(self, name: str, thread: EngineThread) -> None:
        """Forget an adapter, in memory and on disk; running requests still complete.

        Raises NotFound.
        """
        entry = self._adapter_entries.pop(name, None)
        if entry is None:
            raise ModelNotFound(name)
        base = self._model_cache.loaded().get(entry.base.id)
        if base is not None:
            thread.evict(base.engine, entry.files)
        self._adapters.discard(entry.files.prefix)

    def discard_files(self, prefix: str) -> None:
        """Delete the adapter stored under `prefix` from the disk cache. Raises InvalidRequest."""
        with map_adapter_errors():
            self._adapters.discard(validate_key(prefix))

    def _fetch_adapter(self, prefix: str, base: CatalogModel, loaded: LoadedModel) -> _AdapterEntry:
        with map_adapter_errors():
            files = self._adapters.fetch(prefix)
            loaded.engine.decoder.check_adapter(files)
            return _AdapterEntry(base, files, read_rendering_options(files.folder))

    def _local_models(self) -> Iterator[CatalogModel]:
        return (m for m in self._catalog if m.kind == ModelKind.CAUSAL and m.engine is None)

    def _find_base(self, name: str) -> CatalogModel | None:
        model = self._catalog.get(name)
        return model if model in list(self._local_models()) else None


def _fetch_and_load(model: CatalogModel, cache: Path, settings: Settings) -> LoadedModel:
    """Load a base model, from storage if it is kept there. Raises ModelUnavailable."""
    fetch_from_bucket(model, cache, settings)
    return load_model(
        model,
        cache,
        native_kernels=settings.native_kernels,
        speculative_decoding=settings.speculative_decoding,
    )
