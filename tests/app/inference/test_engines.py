"""What the API does with an engine that does not answer in time."""

import socket
from pathlib import Path

import pytest

from app.catalog import Catalog
from app.inference.engines import EngineClient, EngineTimeout
from app.models.registry import ResolvedModel
from app.settings import Settings

pytestmark = pytest.mark.anyio

MODELS = Path(__file__).resolve().parents[2] / "models.toml"


async def test_one_that_is_silent_is_hung_up_on(settings: Settings) -> None:
    catalog = Catalog.load(MODELS)
    base = next(iter(catalog))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        away = settings.model_copy(update={"engine_url": f"http://127.0.0.1:{port}"})
        engines = EngineClient(away, catalog, read_timeout_seconds=0.2)
        with pytest.raises(EngineTimeout, match="Set 'max_tokens'") as raised:
            async with engines.forward(ResolvedModel(base.id, base), "/v1/chat/completions", {}):
                pass
        await engines.close()
        assert (raised.value.status, raised.value.headers["x-should-retry"]) == (504, "false")
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(60)
            # It ends, which is how an engine learns that nobody waits any more.
            while connection.recv(65536):
                pass
