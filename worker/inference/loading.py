"""Loading beside the event loop: base models once for all who wait, and adapters from storage."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

from app import logs
from app.catalog import CatalogModel
from app.errors import InvalidRequest, NotFound, ServiceUnavailable
from app.storage import StorageUnavailable, UnsafeKey
from worker.inference.adapter_format import InvalidAdapter
from worker.modeling import ModelUnavailable

Result = TypeVar("Result")
Loaded = TypeVar("Loaded")

log = logs.get_logger(__name__)


class ModelCache(Generic[Loaded]):
    """Base models, each loaded by `load` when it is first asked for. Lives on the event loop."""

    def __init__(self, load: Callable[[CatalogModel], Loaded]) -> None:
        self._load = load
        self._futures: dict[str, asyncio.Future[Loaded]] = {}

    async def get(self, model: CatalogModel) -> Loaded:
        """The model, loaded once for all who wait for it; a failure is tried again next time.

        Raises Unavailable.
        """
        future = self._futures.get(model.id)
        if future is None or (future.done() and future.exception()):
            future = run_in_thread(partial(self._load, model))
            self._futures[model.id] = future
        try:
            # Shielded: a client that leaves must not take the model from the others.
            return await asyncio.shield(future)
        except ModelUnavailable as error:
            raise ServiceUnavailable(str(error)) from error

    def loaded(self) -> dict[str, Loaded]:
        """Those that are loaded, by id."""
        return {
            name: future.result()
            for name, future in self._futures.items()
            if future.done() and not future.exception()
        }


def run_in_thread(function: Callable[[], Result]) -> asyncio.Future[Result]:
    """Run it beside everything else. Unlike an executor's thread it cannot hold up the end."""
    future: concurrent.futures.Future[Result] = concurrent.futures.Future()
    # It cannot be cancelled: a result that nobody waits for any more is simply dropped.
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
    """What fetching an adapter may raise, as the client is told of it."""
    try:
        yield
    except (InvalidAdapter, UnsafeKey) as error:
        raise InvalidRequest(str(error), param="lora_path") from error
    except FileNotFoundError as error:
        raise NotFound("No adapter is stored there.", param="lora_path") from error
    except StorageUnavailable as error:
        log.error("storage.unavailable", reason=str(error))
        raise ServiceUnavailable("The storage of adapters does not answer just now.") from error
