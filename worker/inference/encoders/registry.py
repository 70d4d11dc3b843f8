"""Registry of encoders: base models, loaded on first use, and fine-tuned models.

Classifiers fine-tuned from causal models are served here too, on a copy of their base model
without its language-model head.
"""

import asyncio
from functools import partial
from pathlib import Path

from app import logs
from app.catalog import Catalog, CatalogModel, ModelKind
from app.errors import ModelNotFound
from app.settings import Settings
from app.wire.engine import LoadAdapterRequest
from worker.bucket_models import fetch_from_bucket
from worker.encoding.task import has_task
from worker.inference.adapter_cache import AdapterDiskCache
from worker.inference.adapter_memory import AdapterFiles, DamagedLocalAdapter
from worker.inference.encoders.engine import EncoderEngine
from worker.inference.encoders.served_encoder import (
    ServedEncoder,
    TextTokenization,
    load_encoder,
    load_tokenization,
)
from worker.inference.loading import ModelCache, map_adapter_errors, run_in_thread

log = logs.get_logger(__name__)


class EncoderRegistry:
    """Resolves model names. Lives on the server's event loop; loads models in threads."""

    def __init__(
        self, catalog: Catalog, settings: Settings, *, cache: Path, adapters: AdapterDiskCache
    ) -> None:
        self._catalog = catalog
        self._adapters = adapters
        self._engines = ModelCache(lambda model: _fetch_and_load(model, cache, settings))
        self._tokenizations = ModelCache(lambda model: load_tokenization(model, cache))
        self._tuned: dict[str, tuple[CatalogModel, AdapterFiles]] = {}

    def list_names(self) -> list[str]:
        bases = [m.id for m in self._catalog if m.kind == ModelKind.ENCODER and m.engine is None]
        return [*bases, *self._tuned]

    def find_base(self, name: str) -> CatalogModel | None:
        """Find the base encoder with this name, if this engine serves it."""
        model = self._catalog.get(name)
        is_local = model is not None and model.kind == ModelKind.ENCODER and model.engine is None
        return model if is_local else None

    def has_model(self, name: str) -> bool:
        return name in self._tuned or self.find_base(name) is not None

    async def is_encoder_adapter(self, request: LoadAdapterRequest) -> bool:
        """Check whether an adapter has an encoder task, for any base model.

        Raises NotFound, ServiceUnavailable, InvalidRequest.
        """
        if self.find_base(request.base_model_name) is not None:
            return True
        return await run_in_thread(partial(self._has_task, request.lora_path))

    async def resolve(self, name: str) -> ServedEncoder:
        """Resolve a name, loading its base model if needed.

        Raises NotFound, or ServiceUnavailable if the base model cannot be loaded.
        """
        base = self.find_base(name)
        if base is not None:
            return ServedEncoder(name, await self._engines.get(base), None)
        if name not in self._tuned or not self._tuned[name][1].touch():
            # If the disk cache was emptied, the API loads the unknown model again and retries.
            self._tuned.pop(name, None)
            raise ModelNotFound(name)
        base, files = self._tuned[name]
        engine = await self._engines.get(base)
        try:
            tuned = await asyncio.to_thread(engine.get_tuned, files)
        except DamagedLocalAdapter:
            self._tuned.pop(name, None)
            raise ModelNotFound(name) from None
        return ServedEncoder(name, engine, tuned)

    async def get_tokenization(self, name: str) -> TextTokenization:
        """Return the tokenizer of a base model of any kind, without loading the model.

        Raises NotFound, or ServiceUnavailable if the model is not on this machine.
        """
        model = self._catalog.get(name)
        if model is None or model.engine is not None:
            raise ModelNotFound(name)
        loaded = self._engines.loaded().get(model.id)
        if loaded is not None:
            return TextTokenization(loaded.tokenizer, loaded.tokenizer_thread)
        return await self._tokenizations.get(model)

    async def load_adapter(self, request: LoadAdapterRequest) -> None:
        """Register a fine-tuned model under a name.

        Raises NotFound, ServiceUnavailable, or InvalidRequest if it does not fit.
        """
        base = self._catalog.get(request.base_model_name)
        if base is None or base.engine is not None:
            raise ModelNotFound(request.base_model_name)
        engine = await self._engines.get(base)
        files = await run_in_thread(partial(self._fetch_adapter, request.lora_path, engine))
        self._tuned[request.lora_name] = (base, files)
        log.info("encoder.loaded", model=request.lora_name)

    def unload_adapter(self, name: str) -> None:
        """Forget a fine-tuned model, in memory and on disk; running requests still complete.

        Raises NotFound.
        """
        if name not in self._tuned:
            raise ModelNotFound(name)
        base, files = self._tuned.pop(name)
        engine = self._engines.loaded().get(base.id)
        if engine is not None:
            engine.evict(files)
        self._adapters.discard(files.prefix)

    def _has_task(self, prefix: str) -> bool:
        with map_adapter_errors():
            return has_task(self._adapters.fetch(prefix).folder)

    def _fetch_adapter(self, prefix: str, engine: EncoderEngine) -> AdapterFiles:
        with map_adapter_errors():
            files = self._adapters.fetch(prefix)
            engine.get_tuned(files)
        return files


def _fetch_and_load(model: CatalogModel, cache: Path, settings: Settings) -> EncoderEngine:
    """Load a base encoder, from storage if it is kept there. Raises ModelUnavailable."""
    fetch_from_bucket(model, cache, settings)
    return load_encoder(model, cache)
