"""Loading beside the event loop: base models once for all who wait, and adapters from storage."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

from app import logs
from app.catalog import BaseModel
from app.errors import InvalidRequest, NotFound, Unavailable
from app.storage import StorageUnavailable, UnsafeKey
from worker.inference.adapter_format import AdapterRefused
from worker.modeling import ModelUnavailable

Result = TypeVar("Result")
Loaded = TypeVar("Loaded")

log = logs.get(__name__)


class Bases(Generic[Loaded]):
    """Base models, each loaded by `load` when it is first asked for. Lives on the event loop."""

    def __init__(self, load: Callable[[BaseModel], Loaded]) -> None:
        self._load = load
        self._loading: dict[str, asyncio.Future[Loaded]] = {}

    async def get(self, model: BaseModel) -> Loaded:
        """The model, loaded once for all who wait for it; a failure is tried again next time.

        Raises Unavailable.
        """
        future = self._loading.get(model.id)
        if future is None or (future.done() and future.exception()):
            future = beside(partial(self._load, model))
            self._loading[model.id] = future
        try:
            # Shielded: a client that leaves must not take the model from the others.
            return await asyncio.shield(future)
        except ModelUnavailable as error:
            raise Unavailable(str(error)) from error

    def here(self) -> dict[str, Loaded]:
        """Those that are loaded, by id."""
        return {
            name: future.result()
            for name, future in self._loading.items()
            if future.done() and not future.exception()
        }


def beside(function: Callable[[], Result]) -> asyncio.Future[Result]:
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
def told() -> Iterator[None]:
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
