"""Registry of causal models: base models, loaded on first use, and adapters on them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from safetensors import safe_open

from app import logs
from app.catalog import DEFAULT_MAX_COMPLETION_TOKENS, Catalog, CatalogModel, ModelKind
from app.errors import InvalidRequest, ModelNotFound
from app.settings import Settings
from app.storage.object_keys import validate_key
from app.wire.engine import LoadAdapterRequest
from worker.bucket_models import fetch_from_bucket
from worker.inference.adapter_cache import AdapterDiskCache
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.decoder import Decoder
from worker.inference.engine import Engine
from worker.inference.engine_thread import EngineThread
from worker.inference.fair_executor import FairExecutor
from worker.inference.grammar.compiler import GrammarCompiler
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.llama_weights import unsupported_reason
from worker.inference.loading import ModelCache, map_adapter_errors, run_in_thread
from worker.inference.transformers_decoder import TransformersDecoder
from worker.inference.vocabulary import Vocabulary
from worker.model.generation_config import (
    NO_GENERATION_CONFIG,
    GenerationConfig,
    read_generation_config,
)
from worker.model.rendering import DEFAULT_OPTIONS, Renderer, RenderingOptions
from worker.model_cache import ModelUnavailable, get_cache_folder, is_cached, needs_cache
from worker.model_sources import materialize
from worker.modeling import (
    ADAPTER_WEIGHTS_FILE,
    choose_device,
    choose_dtype,
    load_base,
    load_tokenizer,
)

# More threads would only compete for the interpreter's lock; the second one tokenizes, which does
# not need it, while the first renders.
RENDERING_THREADS = 2

SAMPLING_DEFAULTS = ("temperature", "top_p", "top_k", "repetition_penalty")

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ModelRendering:
    """A base model's renderer, and threads in which it renders in turn for each project."""

    renderer: Renderer
    executor: FairExecutor


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A base model in memory, with its tokenization."""

    engine: Engine
    renderer: Renderer
    vocabulary: Vocabulary
    # Renders and tokenizes prompts, in turn for each project.
    rendering: FairExecutor
    # For structured outputs; compiled in the threads of `rendering`.
    grammars: GrammarCompiler
    # Values for requests that name none.
    sampling_defaults: GenerationConfig = NO_GENERATION_CONFIG
    # Of an answer to a chat that names no limit.
    default_max_tokens: int = DEFAULT_MAX_COMPLETION_TOKENS


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

    def __init__(self, catalog: Catalog, *, cache: Path, adapters: AdapterDiskCache) -> None:
        self._catalog = catalog
        self._adapters = adapters
        self._model_cache = ModelCache(lambda model: load_model(model, cache))
        self._renderings = ModelCache(lambda model: load_rendering(model, cache))
        self._adapter_entries: dict[str, _AdapterEntry] = {}
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

    def list_engines(self) -> list[Engine]:
        """List the engines of the loaded base models."""
        return [base.engine for base in self._model_cache.loaded().values()]

    async def resolve(self, name: str) -> ServedCausalModel:
        """Resolve a name, loading its base model if needed.

        Raises NotFound, or ServiceUnavailable if the base model cannot be loaded.
        """
        entry = self._adapter_entries.get(name)
        if entry is not None and entry.files.touch():
            base = await self._model_cache.get(entry.base)
            return ServedCausalModel(name, base, entry.files, entry.rendering_options)
        model = self._find_base(name)
        if model is None:
            # If the disk cache was emptied, the API loads the unknown adapter again and retries.
            self._adapter_entries.pop(name, None)
            raise ModelNotFound(name)
        return ServedCausalModel(name, await self._model_cache.get(model), None)

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

    @property
    def num_damaged_files(self) -> int:
        """Damaged files of adapters found since the start, on disk or in storage."""
        return self._adapters.num_damaged

    def _fetch_adapter(self, prefix: str, base: CatalogModel, loaded: LoadedModel) -> _AdapterEntry:
        with map_adapter_errors():
            files = self._adapters.fetch(prefix)
            loaded.engine.decoder.check_adapter(files)
            return _AdapterEntry(base, files, read_rendering_options(files))

    def _local_models(self) -> Iterator[CatalogModel]:
        return (m for m in self._catalog if m.kind == ModelKind.CAUSAL and m.engine is None)

    def _find_base(self, name: str) -> CatalogModel | None:
        model = self._catalog.get(name)
        return model if model in list(self._local_models()) else None


def read_rendering_options(files: AdapterFiles) -> RenderingOptions:
    """Read the rendering options that an adapter was trained with. Raises OSError."""
    with safe_open(files.folder / ADAPTER_WEIGHTS_FILE, framework="pt") as weights:
        return RenderingOptions.from_metadata(weights.metadata())


def load_rendering(model: CatalogModel, cache: Path) -> ModelRendering:
    """Load the tokenizer of a model that is on this machine. Raises ModelUnavailable."""
    if needs_cache(model) and not is_cached(model, cache):
        raise ModelUnavailable(f"The model {model.id} has not been fetched yet.")
    folder = get_cache_folder(model, cache) if needs_cache(model) else materialize(model, cache)
    return ModelRendering(make_renderer(model, folder), FairExecutor(1, "rendering"))


def make_renderer(model: CatalogModel, folder: Path) -> Renderer:
    eos_ids = read_generation_config(folder).eos_ids
    return Renderer(load_tokenizer(folder), model.context_length, eos_ids=eos_ids)


def _describe(generation: GenerationConfig) -> dict[str, float]:
    """Make the sampling defaults that a model has, for the log."""
    values = {name: getattr(generation, name) for name in SAMPLING_DEFAULTS}
    return {name: value for name, value in values.items() if value is not None}


def load_model(model: CatalogModel, cache: Path) -> LoadedModel:
    """Load a base model, converting its files first if needed. Raises ModelUnavailable."""
    fetch_from_bucket(model, cache, Settings())
    folder = materialize(model, cache)
    device = choose_device()
    base = load_base(folder, dtype=choose_dtype(device), device=device)
    tokenizer = load_tokenizer(folder)
    vocabulary = Vocabulary(tokenizer)
    reason = unsupported_reason(base, model.context_length)
    generation = read_generation_config(folder)
    decoder: Decoder
    if reason is None:
        decoder = LlamaDecoder(base, context_length=model.context_length)
    else:
        decoder = TransformersDecoder(base, context_length=model.context_length)
    log.info(
        "model.loaded",
        model=model.id,
        device=str(device),
        slots=decoder.num_slots,
        unsupported=reason,
        generation=_describe(generation),
    )
    if generation.ignored:
        names = ", ".join(generation.ignored)
        log.warning("model.generation_config_ignored", model=model.id, values=names)
    renderer = Renderer(tokenizer, model.context_length, eos_ids=generation.eos_ids)
    return LoadedModel(
        engine=Engine(decoder, vocab_size=vocabulary.size),
        renderer=renderer,
        vocabulary=vocabulary,
        rendering=FairExecutor(RENDERING_THREADS, "rendering"),
        grammars=GrammarCompiler(vocabulary, renderer.stop_ids),
        sampling_defaults=generation,
        default_max_tokens=model.max_completion_tokens,
    )
