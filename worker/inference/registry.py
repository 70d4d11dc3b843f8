"""What is served under which name: base models, loaded when first used, and adapters on them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app import logs
from app.catalog import Catalog, CatalogModel
from app.errors import InvalidRequest, ModelNotFound
from app.wire.engine import LoadAdapterRequest
from worker.inference.adapter_cache import AdapterDiskCache, AdapterFiles
from worker.inference.decoder import Decoder
from worker.inference.engine import Engine
from worker.inference.llama import LlamaDecoder
from worker.inference.llama_weights import unsupported_reason
from worker.inference.loading import ModelCache, map_adapter_errors, run_in_thread
from worker.inference.transformers_backend import TransformersDecoder
from worker.inference.vocabulary import Vocabulary
from worker.modeling import choose_device, choose_dtype, load_base, load_tokenizer, materialize
from worker.rendering import Renderer

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A base model in memory, with all that is needed to talk to it."""

    engine: Engine
    renderer: Renderer
    vocabulary: Vocabulary


@dataclass(frozen=True, slots=True)
class ServedCausalModel:
    """What a request's model name stands for."""

    name: str
    base: LoadedModel
    adapter: AdapterFiles | None


@dataclass(frozen=True, slots=True)
class _AdapterEntry:
    base: CatalogModel
    files: AdapterFiles


class ModelRegistry:
    """Lives on the server's event loop; loading happens in threads beside it."""

    def __init__(self, catalog: Catalog, *, cache: Path, adapters: AdapterDiskCache) -> None:
        self._catalog = catalog
        self._adapters = adapters
        self._model_cache = ModelCache(lambda model: load_model(model, cache))
        self._adapter_entries: dict[str, _AdapterEntry] = {}
        self.is_ready = False

    async def warm_up(self) -> None:
        """Load the first base model, so that the first request need not wait for it."""
        first = next(self._local_models(), None)
        if first is not None:
            await self._model_cache.get(first)
        self.is_ready = True

    def list_names(self) -> list[str]:
        return [*(model.id for model in self._local_models()), *self._adapter_entries]

    def has_model(self, name: str) -> bool:
        return name in self._adapter_entries or self._find_base(name) is not None

    def list_engines(self) -> list[Engine]:
        """Those of the base models that are loaded."""
        return [base.engine for base in self._model_cache.loaded().values()]

    async def resolve(self, name: str) -> ServedCausalModel:
        """Raises NotFound, or Unavailable if the base model cannot be loaded."""
        tuned = self._adapter_entries.get(name)
        if tuned is not None and tuned.files.touch():
            return ServedCausalModel(name, await self._model_cache.get(tuned.base), tuned.files)
        base = self._find_base(name)
        if base is None:
            # Somebody emptied the cache: the API loads an unknown adapter again and repeats.
            self._adapter_entries.pop(name, None)
            raise ModelNotFound(name)
        return ServedCausalModel(name, await self._model_cache.get(base), None)

    async def load_adapter(self, asked: LoadAdapterRequest) -> None:
        """Serve an adapter under a name from now on.

        Raises NotFound, Unavailable, or InvalidRequest if the adapter does not fit.
        """
        base = self._find_base(asked.base_model_name)
        if base is None:
            raise ModelNotFound(asked.base_model_name)
        if self._find_base(asked.lora_name) is not None:
            raise InvalidRequest("This is a base model's name.", param="lora_name")
        known = self._adapter_entries.get(asked.lora_name)
        if known and known.files.prefix == asked.lora_path and known.files.touch():
            return
        loaded = await self._model_cache.get(base)
        files = await run_in_thread(partial(self._fetch_adapter, asked.lora_path, loaded))
        self._adapter_entries[asked.lora_name] = _AdapterEntry(base, files)
        log.info("adapter.loaded", model=asked.lora_name)

    def unload_adapter(self, name: str) -> None:
        """Raises NotFound. Requests that are running go on to their end."""
        if self._adapter_entries.pop(name, None) is None:
            raise ModelNotFound(name)

    def _fetch_adapter(self, prefix: str, base: LoadedModel) -> AdapterFiles:
        with map_adapter_errors():
            files = self._adapters.fetch(prefix)
            base.engine.decoder.check_adapter(files)
        return files

    def _local_models(self) -> Iterator[CatalogModel]:
        return (m for m in self._catalog if m.kind == "causal" and m.engine is None)

    def _find_base(self, name: str) -> CatalogModel | None:
        model = self._catalog.get(name)
        return model if model in list(self._local_models()) else None


def load_model(model: CatalogModel, cache: Path) -> LoadedModel:
    """Bring a base model into memory, converting it first if need be. Raises ModelUnavailable."""
    folder = materialize(model, cache)
    device = choose_device()
    base = load_base(folder, dtype=choose_dtype(device), device=device)
    tokenizer = load_tokenizer(folder)
    vocabulary = Vocabulary(tokenizer)
    reason = unsupported_reason(base, model.context_length)
    decoder: Decoder
    if reason is None:
        decoder = LlamaDecoder(base, context_length=model.context_length)
    else:
        decoder = TransformersDecoder(base, context_length=model.context_length)
    log.info(
        "model.loaded", model=model.id, device=str(device), rows=decoder.num_slots, slow=reason
    )
    return LoadedModel(
        engine=Engine(decoder, vocab_size=vocabulary.size),
        renderer=Renderer(tokenizer, model.context_length),
        vocabulary=vocabulary,
    )
