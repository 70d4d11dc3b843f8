"""Which encoders are served under which name: bases, loaded when first used, and tuned models.

Classifiers made from causal models are served here too, on a copy of their base without its head.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app import logs
from app.catalog import BaseModel, Catalog
from app.errors import InvalidRequest, NotFound, Unavailable
from app.schemas.engine import LoadAdapterRequest
from app.storage import StorageUnavailable, UnsafeKey
from worker.encoding.backbone import load_backbone
from worker.encoding.task import has_task
from worker.encoding.texts import Reader
from worker.inference.adapter_format import AdapterRefused
from worker.inference.adapters import AdapterFiles, AdapterFolder
from worker.inference.encoders.engine import EncoderEngine
from worker.inference.encoders.tuned import Tuned
from worker.modeling import (
    ModelUnavailable,
    choose_device,
    choose_dtype,
    load_tokenizer,
    materialize,
)

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class ServedEncoder:
    """What a request's model name stands for; `tuned` is None for a base model."""

    name: str
    engine: EncoderEngine
    tuned: Tuned | None


class EncoderModels:
    """Lives on the server's event loop; loading happens in threads beside it."""

    def __init__(self, catalog: Catalog, *, cache: Path, adapters: AdapterFolder) -> None:
        self._catalog = catalog
        self._cache = cache
        self._adapters = adapters
        self._engines: dict[str, asyncio.Task[EncoderEngine]] = {}
        self._tuned: dict[str, tuple[BaseModel, AdapterFiles]] = {}

    def names(self) -> list[str]:
        bases = [m.id for m in self._catalog if m.kind == "encoder" and m.engine is None]
        return [*bases, *self._tuned]

    def base_called(self, name: str) -> BaseModel | None:
        """The encoder of this name, if it is served here."""
        model = self._catalog.get(name)
        here = model is not None and model.kind == "encoder" and model.engine is None
        return model if here else None

    def knows(self, name: str) -> bool:
        return name in self._tuned or self.base_called(name) is not None

    async def is_task(self, asked: LoadAdapterRequest) -> bool:
        """Whether an adapter has a task of encoders, whatever its base is.

        Raises NotFound, Unavailable, InvalidRequest.
        """
        if self.base_called(asked.base_model_name) is not None:
            return True
        return await asyncio.to_thread(self._has_task, asked.lora_path)

    async def resolve(self, name: str) -> ServedEncoder:
        """Raises NotFound, or Unavailable if the base model cannot be loaded."""
        base = self.base_called(name)
        if base is not None:
            return ServedEncoder(name, await self._load(base), None)
        if name not in self._tuned or not self._tuned[name][1].use():
            # Somebody emptied the cache: the API loads an unknown model again and repeats.
            self._tuned.pop(name, None)
            raise unknown(name)
        base, files = self._tuned[name]
        engine = await self._load(base)
        return ServedEncoder(name, engine, await asyncio.to_thread(engine.tuned, files))

    async def load_adapter(self, asked: LoadAdapterRequest) -> None:
        """Serve a tuned model under a name from now on.

        Raises NotFound, Unavailable, or InvalidRequest if it does not fit.
        """
        base = self._catalog.get(asked.base_model_name)
        if base is None or base.engine is not None:
            raise unknown(asked.base_model_name)
        engine = await self._load(base)
        files = await asyncio.to_thread(self._fetch, asked.lora_path, engine)
        self._tuned[asked.lora_name] = (base, files)
        log.info("encoder.loaded", model=asked.lora_name)

    def unload_adapter(self, name: str) -> None:
        """Raises NotFound. Requests that are running go on to their end."""
        if name not in self._tuned:
            raise unknown(name)
        base, files = self._tuned.pop(name)
        loading = self._engines.get(base.id)
        if loading is not None and loading.done() and not loading.exception():
            loading.result().forget(files)

    def _has_task(self, prefix: str) -> bool:
        with _told():
            return has_task(self._adapters.fetch(prefix).folder)

    def _fetch(self, prefix: str, engine: EncoderEngine) -> AdapterFiles:
        with _told():
            files = self._adapters.fetch(prefix)
            engine.tuned(files)
        return files

    async def _load(self, model: BaseModel) -> EncoderEngine:
        """The engine, made once for all who wait for it; a failure is tried again next time."""
        task = self._engines.get(model.id)
        if task is None or (task.done() and task.exception()):
            task = asyncio.create_task(asyncio.to_thread(load, model, self._cache))
            self._engines[model.id] = task
        try:
            # Shielded: a client that leaves must not take the model from the others.
            return await asyncio.shield(task)
        except ModelUnavailable as error:
            raise Unavailable(str(error)) from error


@contextmanager
def _told() -> Iterator[None]:
    """What fetching an adapter may raise, as the client is told of it."""
    try:
        yield
    except (AdapterRefused, UnsafeKey) as error:
        raise InvalidRequest(str(error), param="lora_path") from error
    except FileNotFoundError as error:
        raise NotFound("No adapter is stored there.", param="lora_path") from error
    except StorageUnavailable as error:
        log.error("storage.unavailable", reason=str(error))
        raise Unavailable("The storage of adapters does not answer just now.") from error


def load(model: BaseModel, cache: Path) -> EncoderEngine:
    """Bring an encoder into memory. Raises ModelUnavailable."""
    folder = materialize(model, cache)
    device = choose_device()
    length = model.context_length
    backbone = load_backbone(folder, dtype=choose_dtype(device), device=device, longest=length)
    reader = Reader(load_tokenizer(folder), length)
    log.info("model.loaded", model=model.id, device=str(device))
    return EncoderEngine(backbone, reader, causal=model.kind == "causal")


def unknown(name: str) -> NotFound:
    return NotFound(
        f"The model `{name}` does not exist or you do not have access to it.",
        code="model_not_found",
    )
