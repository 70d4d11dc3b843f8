"""The engine process: wire its components together and serve until a signal arrives."""

from enum import IntEnum
from types import FrameType
from urllib.parse import urlsplit

import torch
import uvicorn

from app import logs
from app.catalog import Catalog, CatalogError
from app.http_server.descriptors import reserve_descriptors
from app.http_server.protocol import MAX_CONNECTIONS, BoundedHttpProtocol
from app.process_hardening import forbid_inspection
from app.settings import Settings
from app.storage import ObjectStore, VerifiedStore, open_store
from worker.inference.adapter_cache import AdapterDiskCache
from worker.inference.encoders.registry import EncoderRegistry
from worker.inference.engine_thread import EngineThread
from worker.inference.registry import ModelRegistry
from worker.inference.server import ServerState, create_app

log = logs.get_logger(__name__)


class EngineExitCode(IntEnum):
    """Exit code of the engine process."""

    STOPPED = 0
    # The engine thread crashed or the first model could not be loaded.
    FAILED = 1
    # models.toml is missing or invalid.
    INVALID_CATALOG = 2


class EngineHttpProtocol(BoundedHttpProtocol):
    """One connection of an API process, which reads a response as fast as its own client does.

    It checks that client's progress often. What it reads here is seen in large steps only, since
    its kernel has large buffers.
    """

    progress_check_interval_seconds = 60.0


class EngineServer(uvicorn.Server):
    """A uvicorn server that stops promptly: open streams get an error event and end at once."""

    def __init__(self, config: uvicorn.Config, thread: EngineThread) -> None:
        super().__init__(config)
        self._thread = thread

    @property
    def has_failed(self) -> bool:
        return self._thread.has_failed

    def request_exit(self) -> None:
        """Begin a graceful shutdown, as a signal does."""
        self._thread.stop()
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._thread.has_ended

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.request_exit()


def _open_store(settings: Settings) -> ObjectStore:
    """Open the store so that an unmounted one is unavailable, rather than without any adapter.

    The engine has no database, which knows the marker: any marker will do.
    """
    return VerifiedStore(open_store(settings), lambda: None, interval_seconds=0)


def make_server(settings: Settings) -> EngineServer:
    """Build the engine from its settings. Raises CatalogError."""
    cache = settings.home / "cache"
    catalog = Catalog.load(settings.models_file)
    adapters = AdapterDiskCache(_open_store(settings), cache / "adapters")
    models = ModelRegistry(catalog, settings, cache=cache / "models", adapters=adapters)
    encoders = EncoderRegistry(catalog, settings, cache=cache / "models", adapters=adapters)
    thread = EngineThread()
    secret = settings.engine_api_key
    key = None if secret is None else secret.get_secret_value()
    app = create_app(ServerState(models, encoders, thread, settings.max_body_bytes, key))
    EngineHttpProtocol.max_connections = reserve_descriptors(MAX_CONNECTIONS)
    url = urlsplit(settings.engine_url)
    config = uvicorn.Config(
        app,
        host=url.hostname or "127.0.0.1",
        port=url.port or 80,
        http=EngineHttpProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    return EngineServer(config, thread)


def main() -> EngineExitCode:
    """Read the settings from the environment and serve until a signal arrives."""
    settings = Settings()
    forbid_inspection()
    logs.configure(settings.log_level, "engine")
    if settings.torch_threads:
        torch.set_num_threads(settings.torch_threads)
    try:
        server = make_server(settings)
    except CatalogError as error:
        log.critical("engine.cannot_start", reason=str(error))
        return EngineExitCode.INVALID_CATALOG
    server.run()
    return EngineExitCode.FAILED if server.has_failed else EngineExitCode.STOPPED
