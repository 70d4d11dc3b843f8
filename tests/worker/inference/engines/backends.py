"""Engines behind a running API: each can be restarted empty and taken away."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import torch
from fastapi import FastAPI
from openai import OpenAI
from safetensors.torch import save_file

from app.catalog import CatalogModel
from app.db.session import SessionMaker, transaction
from app.db.tables import Project
from app.main import create_app
from app.settings import Settings
from tests import http_client
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job
from tests.live_api import create_account
from tests.live_server import run_server
from tests.polling import wait_until
from tests.ports import free_port
from tests.worker.inference.engines.stand_in import StandIn
from tests.worker.inference.running_engine import catalog_entry, running_engine
from worker.run_folder import write_manifest

VLLM_PYTHON = "LUTHIER_TEST_VLLM_PYTHON"
START_TIMEOUT_SECONDS = 600


class Backend(Protocol):
    """A kind of engine under test. `entry` is its base model in the API's catalog."""

    entry: CatalogModel
    folder: Path

    def settings(self) -> dict[str, Any]:
        """Settings of the API that this engine needs."""

    def restart(self) -> None:
        """Restart the engine, which forgets all adapters."""

    def stop(self) -> None:
        """Take the engine away."""


@dataclass
class BuiltIn:
    """Our own engine."""

    home: Path
    entry: CatalogModel
    folder: Path
    stack: ExitStack = field(default_factory=ExitStack)
    url: str = ""

    def settings(self) -> dict[str, Any]:
        self.restart()
        return {"engine_url": self.url}

    def restart(self) -> None:
        self.stop()
        with_model = catalog_entry(self.entry)
        port = None if not self.url else int(self.url.rpartition(":")[2])
        engine = self.stack.enter_context(running_engine(self.home, with_model, port=port))
        self.url = engine.url

    def stop(self) -> None:
        self.stack.close()


@dataclass
class StandInBackend:
    """The stand-in for vLLM, on a port."""

    entry: CatalogModel
    folder: Path
    stand_in: StandIn

    def settings(self) -> dict[str, Any]:
        return {}

    def restart(self) -> None:
        self.stand_in.restart()

    def stop(self) -> None:
        self.stand_in.failing_with = 503


@dataclass
class Vllm:
    """The real vLLM, in an environment of its own."""

    entry: CatalogModel
    folder: Path
    port: int
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def settings(self) -> dict[str, Any]:
        self.restart()
        return {}

    def restart(self) -> None:
        self.stop()
        python = os.environ[VLLM_PYTHON]
        command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.folder)]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--enforce-eager"]
        command += ["--enable-lora", "--max-lora-rank", "8", "--max-model-len", "512"]
        command += ["--max-num-seqs", "4", "--enable-auto-tool-choice"]
        command += ["--tool-call-parser", "hermes"]
        # A model with random weights writes spaces where a grammar lets it.
        grammar = {"backend": "xgrammar", "disable_any_whitespace": True}
        command += ["--structured-outputs-config", json.dumps(grammar)]
        environment = {
            **os.environ,
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            # By default forced calls are in a grammar that lets random weights write spaces, and
            # further calls, until the limit of tokens cuts the last one off.
            "VLLM_ENFORCE_STRICT_TOOL_CALLING": "0",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_until("vLLM serves", self._is_ready, seconds=START_TIMEOUT_SECONDS)

    def stop(self) -> None:
        if self.process is None:
            return
        # With its engine and workers, which are processes of their own.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()
        self.process = None

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        try:
            url = f"http://127.0.0.1:{self.port}/health"
            return httpx.get(url, timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False


@dataclass(frozen=True)
class Served:
    """A base model and a model tuned from it, asked through the API."""

    http: httpx.Client
    openai: OpenAI
    base: str
    tuned: str
    prefix: str
    app: FastAPI


@contextmanager
def running_api(
    home: Path, settings: Settings, *entries: CatalogModel
) -> Iterator[tuple[FastAPI, str]]:
    """Serve the API with these base models in its catalog."""
    models_file = home / "api-models.toml"
    models_file.write_text("\n".join(map(catalog_entry, entries)))
    app = create_app(settings.model_copy(update={"home": home, "models_file": models_file}))
    with run_server(app) as url:
        app.state.shared.store.check()
        yield app, url


def serve_tuned(
    app: FastAPI,
    url: str,
    sessions: SessionMaker,
    base: CatalogModel,
    base_folder: Path,
    name: str,
    **adapter: Any,
) -> Served:
    """Store an adapter of the base model, as a job does, for a new account."""
    account = create_account(sessions, "acme")
    with transaction(sessions) as session:
        project = session.get_one(Project, account.principal.project_id)
        job = make_job(session, project, base_model=base.id)
        model = make_model(session, job, name)
        prefix = model.storage_prefix
    store_adapter(app, base_folder, base.id, prefix, **adapter)
    secret = account.secret
    return Served(
        http=httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {secret}"},
            timeout=http_client.TIMEOUT_SECONDS,
        ),
        openai=OpenAI(
            base_url=f"{url}/v1", api_key=secret, max_retries=0, _strict_response_validation=True
        ),
        base=base.id,
        tuned=name,
        prefix=prefix,
        app=app,
    )


def store_adapter(app: FastAPI, base_folder: Path, base: str, prefix: str, **changes: Any) -> None:
    """Store a random LoRA on the attention of a Llama, in PEFT's format with a manifest."""
    made = base_folder.parent / f"made-{prefix.replace('/', '-')}"
    write_adapter(made, base_folder, base, **changes)
    store = app.state.shared.store
    for file in sorted(made.iterdir()):
        store.upload(file, f"{prefix}/{file.name}")


def write_adapter(folder: Path, base_folder: Path, base: str, **changes: Any) -> None:
    config = json.loads((base_folder / "config.json").read_bytes())
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    rank = changes.get("r", 4)
    generator = torch.Generator().manual_seed(sum(folder.name.encode()))
    tensors = {}
    for layer in range(layers):
        for name in ("q_proj", "o_proj"):
            path = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            a = torch.randn(rank, width, generator=generator)
            tensors[f"{path}.lora_A.weight"] = a
            tensors[f"{path}.lora_B.weight"] = torch.randn(width, rank, generator=generator) / 4
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    adapter = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": 4 * rank,
        "target_modules": ["q_proj", "o_proj"],
        "base_model_name_or_path": base,
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(adapter | changes))
    write_manifest(folder)


def vllm_port() -> int:
    return free_port()
