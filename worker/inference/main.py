"""What `python -m worker.inference` runs: the engine's parts joined, until it is told to end."""

import logging
import os
from types import FrameType
from urllib.parse import urlsplit

import torch
import uvicorn

from app import logs
from app.catalog import Catalog, CatalogError
from app.settings import Settings
from app.storage import open_store
from worker.inference.adapter_cache import AdapterDiskCache
from worker.inference.encoders.registry import EncoderRegistry
from worker.inference.engine_thread import EngineThread
from worker.inference.registry import ModelRegistry
from worker.inference.server import ServerState, create_app

log = logs.get_logger(__name__)


class EngineServer(uvicorn.Server):
    """Ends promptly: streams that are open get an error event at once and do not hold it up."""

    def __init__(self, config: uvicorn.Config, thread: EngineThread) -> None:
        super().__init__(config)
        self._thread = thread

    @property
    def has_failed(self) -> bool:
        return self._thread.has_failed

    def request_exit(self) -> None:
        """As a signal does it."""
        self._thread.stop()
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._thread.has_ended

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.request_exit()


def make_server(settings: Settings) -> EngineServer:
    """Join the parts. Raises CatalogError."""
    cache = settings.home / "cache"
    catalog = Catalog.load(settings.models_file)
    adapters = AdapterDiskCache(open_store(settings), cache / "adapters")
    models = ModelRegistry(catalog, cache=cache / "models", adapters=adapters)
    encoders = EncoderRegistry(catalog, cache=cache / "models", adapters=adapters)
    thread = EngineThread()
    app = create_app(
        ServerState(models, encoders, thread, settings.max_body_bytes, settings.engine_key)
    )
    place = urlsplit(settings.engine_url)
    config = uvicorn.Config(
        app,
        host=place.hostname or "127.0.0.1",
        port=place.port or 80,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    return EngineServer(config, thread)


def main() -> int:
    """Read the environment and serve; 1 if the engine broke, 2 if models.toml is not usable."""
    settings = Settings()
    logs.configure(settings.log_level, "engine")
    if settings.torch_threads:
        torch.set_num_threads(settings.torch_threads)
    try:
        server = make_server(settings)
    except CatalogError as error:
        log.critical("engine.cannot_start", reason=str(error))
        return 2
    server.run()
    return 1 if server.has_failed else 0


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # Not sys.exit: a model that is still being loaded cannot be interrupted, and need not be.
    os._exit(code)
