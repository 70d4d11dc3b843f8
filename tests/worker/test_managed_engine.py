"""Engines that Luthier starts: their command, their environment, and their supervision."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app.catalog import Catalog, CatalogModel
from app.engine_options import EngineOptions
from app.local import process_specs
from app.local.ports import PortReservations
from app.local.supervisor import SignalCounter, Supervisor
from app.local.up import with_managed_engines
from app.settings import Settings
from tests.polling import wait_until
from tests.ports import free_port
from tests.worker.inference.running_engine import catalog_entry
from worker.managed_engine import build_command, build_environment

# A module of vLLM's name that answers with its arguments and environment, beside a child.
FAKE_VLLM = """
import http.server, json, os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        facts = {"arguments": sys.argv[1:], "environment": dict(os.environ), "pid": os.getpid()}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(facts | {"child": child.pid}).encode())
    def log_message(self, *_):
        pass
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def model(tiny_model: CatalogModel, tmp_path: Path) -> CatalogModel:
    module = tmp_path / "lib" / "vllm" / "entrypoints" / "openai"
    module.mkdir(parents=True)
    (module / "api_server.py").write_text(FAKE_VLLM)
    options = EngineOptions(
        max_lora_rank=32,
        arguments=("--max-model-len", "128"),
        environment=(f"PYTHONPATH={tmp_path / 'lib'}", "VLLM_CPU_KVCACHE_SPACE=1"),
        port=free_port(),
    )
    return replace(tiny_model, engine="vllm", engine_options=options)


@pytest.fixture
def managed(model: CatalogModel, tmp_path: Path, settings: Settings) -> Settings:
    models_file = tmp_path / "models.toml"
    models_file.write_text(catalog_entry(model))
    update = {"models_file": models_file, "engine_api_key": SecretStr("key")}
    catalog = Catalog.load(models_file)
    with PortReservations() as reserved:
        return with_managed_engines(settings.model_copy(update=update), catalog, reserved)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with SignalCounter() as signals:
        made = Supervisor(signals, lambda _: None, lambda _: None)
        yield made
        made.stop(*process_specs.stop_order(made.processes))


# Slow: each start imports what fetches base models.
@pytest.mark.engines
def test_an_engine_is_started_with_the_flags_of_its_entry_and_restarted(
    model: CatalogModel, managed: Settings, supervisor: Supervisor
) -> None:
    url = managed.managed_engines[model.id]
    spec = process_specs.managed_engine_spec(managed, model, url)
    supervisor.start(spec)
    supervisor.wait_until_ready(spec.name)
    facts = _ask(url)
    arguments = facts["arguments"]
    for name, value in (
        ("--model", model.source.removeprefix("path:")),
        ("--served-model-name", model.id),
        ("--max-lora-rank", "32"),
        ("--max-loras", "8"),
        ("--max-model-len", "128"),
    ):
        assert arguments[arguments.index(name) + 1] == value
    assert "--enable-lora" in arguments
    environment = facts["environment"]
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert environment["VLLM_API_KEY"] == "key"
    assert not [name for name in environment if name.startswith(("LUTHIER_", "DATABASE", "S3_"))]

    os.kill(facts["pid"], signal.SIGKILL)
    wait_until("it is restarted", lambda: _is_another(supervisor, url, facts["pid"]))
    assert not Path(f"/proc/{facts['child']}").exists() or _is_zombie(facts["child"]), (
        "its workers are gone, and with them the memory of its accelerator"
    )


def test_sglang(model: CatalogModel, tmp_path: Path) -> None:
    sglang = replace(model, engine="sglang", engine_options=EngineOptions(python="/opt/python"))
    command = build_command(sglang, tmp_path, host="127.0.0.1", port=8200)
    assert command[:3] == ["/opt/python", "-m", "sglang.launch_server"]
    assert command[command.index("--max-lora-rank") + 1] == "64"
    assert command[command.index("--lora-target-modules") + 1] == "all"


def test_options_win_over_the_environment(model: CatalogModel, settings: Settings) -> None:
    inherited = {"VLLM_CPU_KVCACHE_SPACE": "9", "S3_SECRET_ACCESS_KEY": "secret", "PATH": "/bin"}
    environment = build_environment(model, settings, inherited)
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert environment["PATH"] == "/bin"
    assert "S3_SECRET_ACCESS_KEY" not in environment


def test_two_engines_have_ports_of_their_own(model: CatalogModel, settings: Settings) -> None:
    catalog = Catalog([model, replace(model, id="other")])
    with PortReservations() as reserved:
        urls = with_managed_engines(settings, catalog, reserved).managed_engines
    assert len(set(urls.values())) == 2


def test_an_engine_leaves_the_others_their_ports(model: CatalogModel, settings: Settings) -> None:
    wanted = model.engine_options.port
    for taken in ({"port": wanted}, {"engine_url": f"http://127.0.0.1:{wanted}"}):
        changed = settings.model_copy(update=taken)
        with PortReservations() as reserved:
            found = with_managed_engines(changed, Catalog([model]), reserved).managed_engines
        (url,) = found.values()
        assert int(url.rpartition(":")[2]) > wanted


def _ask(url: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(httpx.get(f"{url}/facts", trust_env=False).content)
    return facts


def _is_another(supervisor: Supervisor, url: str, pid: int) -> bool:
    supervisor.poll()
    try:
        return bool(_ask(url)["pid"] != pid)
    except httpx.TransportError:
        return False


def _is_zombie(pid: int) -> bool:
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()
