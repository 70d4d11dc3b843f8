"""Which encoders are served under which name: bases, loaded when first used, and tuned models.

Classifiers made from causal models are served here too, on a copy of their base without its head.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app import logs
from app.catalog import Catalog, CatalogModel
from app.errors import ModelNotFound
from app.wire.engine import LoadAdapterRequest
from worker.encoding.backbone import load_backbone
from worker.encoding.task import has_task
from worker.encoding.tokenizer import EncoderTokenizer
from worker.inference.adapter_cache import AdapterDiskCache, AdapterFiles
from worker.inference.encoders.engine import EncoderEngine
from worker.inference.encoders.tuned_encoder import TunedEncoder
from worker.inference.loading import ModelCache, map_adapter_errors, run_in_thread
from worker.modeling import choose_device, choose_dtype, load_tokenizer, materialize

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServedEncoder:
    """What a request's model name stands for; `tuned` is None for a base model."""

    name: str
    engine: EncoderEngine
    tuned: TunedEncoder | None


class EncoderRegistry:
    """Lives on the server's event loop; loading happens in threads beside it."""

    def __init__(self, catalog: Catalog, *, cache: Path, adapters: AdapterDiskCache) -> None:
        self._catalog = catalog
        self._adapters = adapters
        self._engines = ModelCache(lambda model: load_encoder(model, cache))
        self._tuned: dict[str, tuple[CatalogModel, AdapterFiles]] = {}

    def list_names(self) -> list[str]:
        bases = [m.id for m in self._catalog if m.kind == "encoder" and m.engine is None]
        return [*bases, *self._tuned]

    def find_base(self, name: str) -> CatalogModel | None:
        """The encoder of this name, if it is served here."""
        model = self._catalog.get(name)
        here = model is not None and model.kind == "encoder" and model.engine is None
        return model if here else None

    def has_model(self, name: str) -> bool:
        return name in self._tuned or self.find_base(name) is not None

    async def is_encoder_adapter(self, asked: LoadAdapterRequest) -> bool:
        """Whether an adapter has a task of encoders, whatever its base is.

        Raises NotFound, Unavailable, InvalidRequest.
        """
        if self.find_base(asked.base_model_name) is not None:
            return True
        return await run_in_thread(partial(self._has_task, asked.lora_path))

    async def resolve(self, name: str) -> ServedEncoder:
        """Raises NotFound, or Unavailable if the base model cannot be loaded."""
        base = self.find_base(name)
        if base is not None:
            return ServedEncoder(name, await self._engines.get(base), None)
        if name not in self._tuned or not self._tuned[name][1].touch():
            # Somebody emptied the cache: the API loads an unknown model again and repeats.
            self._tuned.pop(name, None)
            raise ModelNotFound(name)
        base, files = self._tuned[name]
        engine = await self._engines.get(base)
        return ServedEncoder(name, engine, await asyncio.to_thread(engine.get_tuned, files))

    async def load_adapter(self, asked: LoadAdapterRequest) -> None:
        """Serve a tuned model under a name from now on.

        Raises NotFound, Unavailable, or InvalidRequest if it does not fit.
        """
        base = self._catalog.get(asked.base_model_name)
        if base is None or base.engine is not None:
            raise ModelNotFound(asked.base_model_name)
        engine = await self._engines.get(base)
        files = await run_in_thread(partial(self._fetch_adapter, asked.lora_path, engine))
        self._tuned[asked.lora_name] = (base, files)
        log.info("encoder.loaded", model=asked.lora_name)

    def unload_adapter(self, name: str) -> None:
        """Raises NotFound. Requests that are running go on to their end."""
        if name not in self._tuned:
            raise ModelNotFound(name)
        base, files = self._tuned.pop(name)
        engine = self._engines.loaded().get(base.id)
        if engine is not None:
            engine.evict(files)

    def _has_task(self, prefix: str) -> bool:
        with map_adapter_errors():
            return has_task(self._adapters.fetch(prefix).folder)

    def _fetch_adapter(self, prefix: str, engine: EncoderEngine) -> AdapterFiles:
        with map_adapter_errors():
            files = self._adapters.fetch(prefix)
            engine.get_tuned(files)
        return files


def load_encoder(model: CatalogModel, cache: Path) -> EncoderEngine:
    """Bring an encoder into memory. Raises ModelUnavailable."""
    folder = materialize(model, cache)
    device = choose_device()
    length = model.context_length
    backbone = load_backbone(folder, dtype=choose_dtype(device), device=device, max_length=length)
    reader = EncoderTokenizer(load_tokenizer(folder), length)
    log.info("model.loaded", model=model.id, device=str(device))
    return EncoderEngine(backbone, reader, causal=model.kind == "causal")
