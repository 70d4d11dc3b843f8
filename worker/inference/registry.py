"""What is served under which name: base models, loaded when first used, and adapters on them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app import logs
from app.catalog import BaseModel, Catalog
from app.errors import InvalidRequest, UnknownModel
from app.wire.engine import LoadAdapterRequest
from worker.inference.adapter_cache import AdapterFiles, AdapterFolder
from worker.inference.decoder import Decoder
from worker.inference.engine import Engine
from worker.inference.llama import LlamaDecoder
from worker.inference.llama_weights import why_not
from worker.inference.loading import Bases, beside, told
from worker.inference.transformers_backend import GenericDecoder
from worker.inference.vocabulary import Vocabulary
from worker.modeling import choose_device, choose_dtype, load_base, load_tokenizer, materialize
from worker.rendering import Renderer

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class LoadedBase:
    """A base model in memory, with all that is needed to talk to it."""

    engine: Engine
    renderer: Renderer
    vocabulary: Vocabulary


@dataclass(frozen=True, slots=True)
class Served:
    """What a request's model name stands for."""

    name: str
    base: LoadedBase
    adapter: AdapterFiles | None


@dataclass(frozen=True, slots=True)
class _Tuned:
    base: BaseModel
    files: AdapterFiles


class Models:
    """Lives on the server's event loop; loading happens in threads beside it."""

    def __init__(self, catalog: Catalog, *, cache: Path, adapters: AdapterFolder) -> None:
        self._catalog = catalog
        self._adapters = adapters
        self._bases = Bases(lambda model: load(model, cache))
        self._tuned: dict[str, _Tuned] = {}
        self.ready = False

    async def warm_up(self) -> None:
        """Load the first base model, so that the first request need not wait for it."""
        first = next(self._here(), None)
        if first is not None:
            await self._bases.get(first)
        self.ready = True

    def names(self) -> list[str]:
        return [*(model.id for model in self._here()), *self._tuned]

    def knows(self, name: str) -> bool:
        return name in self._tuned or self._base_called(name) is not None

    def engines(self) -> list[Engine]:
        """Those of the base models that are loaded."""
        return [base.engine for base in self._bases.here().values()]

    async def resolve(self, name: str) -> Served:
        """Raises NotFound, or Unavailable if the base model cannot be loaded."""
        tuned = self._tuned.get(name)
        if tuned is not None and tuned.files.use():
            return Served(name, await self._bases.get(tuned.base), tuned.files)
        base = self._base_called(name)
        if base is None:
            # Somebody emptied the cache: the API loads an unknown adapter again and repeats.
            self._tuned.pop(name, None)
            raise UnknownModel(name)
        return Served(name, await self._bases.get(base), None)

    async def load_adapter(self, asked: LoadAdapterRequest) -> None:
        """Serve an adapter under a name from now on.

        Raises NotFound, Unavailable, or InvalidRequest if the adapter does not fit.
        """
        base = self._base_called(asked.base_model_name)
        if base is None:
            raise UnknownModel(asked.base_model_name)
        if self._base_called(asked.lora_name) is not None:
            raise InvalidRequest("This is a base model's name.", param="lora_name")
        known = self._tuned.get(asked.lora_name)
        if known and known.files.prefix == asked.lora_path and known.files.use():
            return
        loaded = await self._bases.get(base)
        files = await beside(partial(self._fetch, asked.lora_path, loaded))
        self._tuned[asked.lora_name] = _Tuned(base, files)
        log.info("adapter.loaded", model=asked.lora_name)

    def unload_adapter(self, name: str) -> None:
        """Raises NotFound. Requests that are running go on to their end."""
        if self._tuned.pop(name, None) is None:
            raise UnknownModel(name)

    def _fetch(self, prefix: str, base: LoadedBase) -> AdapterFiles:
        with told():
            files = self._adapters.fetch(prefix)
            base.engine.decoder.check(files)
        return files

    def _here(self) -> Iterator[BaseModel]:
        return (m for m in self._catalog if m.kind == "causal" and m.engine is None)

    def _base_called(self, name: str) -> BaseModel | None:
        model = self._catalog.get(name)
        return model if model in list(self._here()) else None


def load(model: BaseModel, cache: Path) -> LoadedBase:
    """Bring a base model into memory, converting it first if need be. Raises ModelUnavailable."""
    folder = materialize(model, cache)
    device = choose_device()
    base = load_base(folder, dtype=choose_dtype(device), device=device)
    tokenizer = load_tokenizer(folder)
    vocabulary = Vocabulary(tokenizer)
    reason = why_not(base, model.context_length)
    decoder: Decoder
    if reason is None:
        decoder = LlamaDecoder(base, context_length=model.context_length)
    else:
        decoder = GenericDecoder(base, context_length=model.context_length)
    log.info("model.loaded", model=model.id, device=str(device), rows=decoder.rows, slow=reason)
    return LoadedBase(
        engine=Engine(decoder, vocabulary=vocabulary.size),
        renderer=Renderer(tokenizer, model.context_length),
        vocabulary=vocabulary,
    )
