"""`python -m worker.inference` as a process: signals and exit codes."""

import asyncio
import json
import signal
from pathlib import Path

import httpx
import pytest

from app.catalog import CatalogError, CatalogModel
from app.settings import Settings
from tests.ports import free_port
from tests.worker.inference.engine_process import engine_process
from tests.worker.inference.running_engine import catalog_entry
from worker.inference.main import make_server


def events(home: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (home / "log").read_text().splitlines()]


def test_sigterm_ends_streams_and_the_process(base_model: CatalogModel, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with engine_process(tmp_path, catalog_entry(base_model, context_length=50_000), url) as engine:
        process = engine.process
        body = {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "stream": True}
        body["logit_bias"] = {"2": -100}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as response:
            lines = (line for line in response.iter_lines() if line)
            next(lines)
            process.send_signal(signal.SIGTERM)
            *_, error, done = lines
        assert json.loads(error.removeprefix("data: "))["error"]["type"] == "server_error"
        assert done == "data: [DONE]"
        assert process.wait(120) == 0
        assert "engine.crashed" not in events(tmp_path)


def test_an_engine_without_its_first_model_exits(base_model: CatalogModel, tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(catalog_entry(base_model, source="path:/nowhere"))
    server = make_server(make_settings(tmp_path))
    asyncio.run(server.serve())
    assert server.has_failed


def test_an_invalid_catalog_raises(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text("[[model]]\nid = 5")
    with pytest.raises(CatalogError):
        make_server(make_settings(tmp_path))


def make_settings(home: Path) -> Settings:
    url = f"http://127.0.0.1:{free_port()}"
    return Settings(home=home, models_file=home / "models.toml", engine_url=url)
