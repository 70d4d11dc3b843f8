"""Loading outside the event loop: a cache of base models, and errors of adapter downloads."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

from app import logs
from app.catalog import CatalogModel
from app.errors import InvalidRequest, ModelDamaged, NotFound, ServiceUnavailable
from app.storage import StorageUnavailable, UnsafeKey
from worker.inference import metrics
from worker.inference.adapter_cache import DamagedStoredAdapter
from worker.inference.adapter_format import InvalidAdapter
from worker.inference.metrics import AdapterLoadFailure
from worker.model_cache import ModelUnavailable

Result = TypeVar("Result")
Loaded = TypeVar("Loaded")

log = logs.get_logger(__name__)


class ModelCache(Generic[Loaded]):
    """Base models, each loaded by `load` on first use. Lives on the event loop."""

    def __init__(self, load: Callable[[CatalogModel], Loaded]) -> None:
        self._load = load
        self._futures: dict[str, asyncio.Future[Loaded]] = {}

    async def get(self, model: CatalogModel) -> Loaded:
        """Return the model, loading it once for all concurrent callers.

        A failure is not cached: the next call tries again. Raises ServiceUnavailable.
        """
        future = self._futures.get(model.id)
        if future is None or (future.done() and future.exception()):
            future = run_in_thread(partial(self._load, model))
            self._futures[model.id] = future
        try:
            # Shielded: a client that disconnects must not cancel the load for the others.
            return await asyncio.shield(future)
        except ModelUnavailable as error:
            raise ServiceUnavailable(str(error)) from error

    def loaded(self) -> dict[str, Loaded]:
        """The loaded models, by id."""
        return {
            name: future.result()
            for name, future in self._futures.items()
            if future.done() and not future.exception()
        }


def run_in_thread(function: Callable[[], Result]) -> asyncio.Future[Result]:
    """Run a function in a daemon thread, which, unlike an executor's, cannot delay the exit."""
    future: concurrent.futures.Future[Result] = concurrent.futures.Future()
    # It cannot be cancelled: a result that is no longer awaited is dropped.
    future.set_running_or_notify_cancel()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="loading", daemon=True).start()
    return asyncio.wrap_future(future)


@contextmanager
def map_adapter_errors() -> Iterator[None]:
    """Map the exceptions of fetching an adapter to API errors, and count them."""
    try:
        yield
    except (InvalidAdapter, UnsafeKey) as error:
        _count_failure(AdapterLoadFailure.INVALID)
        raise InvalidRequest(str(error), param="lora_path") from error
    except DamagedStoredAdapter as error:
        _count_failure(AdapterLoadFailure.DAMAGED)
        raise ModelDamaged from error
    except FileNotFoundError as error:
        _count_failure(AdapterLoadFailure.MISSING)
        raise NotFound("No adapter was found at this path.", param="lora_path") from error
    except StorageUnavailable as error:
        _count_failure(AdapterLoadFailure.STORAGE_UNAVAILABLE)
        log.error("storage.unavailable", reason=str(error))
        raise ServiceUnavailable("The adapter storage is temporarily unavailable.") from error


def _count_failure(reason: AdapterLoadFailure) -> None:
    metrics.ADAPTER_LOAD_FAILURES.labels(reason).inc()
