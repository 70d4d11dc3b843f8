"""Luthier's engine, asked directly and through the API, with Postgres, Valkey and a local store."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from sqlalchemy import select

from app.db.session import create_database_engine, one_off_transaction, session_maker
from app.db.tables import FineTunedModel
from app.operations import storage_identity
from app.storage import open_store
from bench.api.servers import UNLIMITED, BackingServices, free_port, run_backing_services
from bench.multi_lora import register_adapters
from bench.serving.peers import CompletionsPeer, Processes, forbid_ends, run_process
from bench.serving.weights import Weights, write_catalog
from worker.inference.adapter_memory import AdapterFiles


@contextmanager
def run_luthier(
    weights: Weights,
    log: Path,
    *,
    is_int8: bool = False,
    takes_drafts: bool = True,
    loads_adapters: bool = True,
) -> Iterator[list[CompletionsPeer]]:
    """Run one engine and one API; yields a peer for each way to the same engine."""
    with run_backing_services() as services:
        link_cache(services, weights)
        engine_port, api_port = free_port(), free_port()
        limits = ("RATE_LIMIT_REQUESTS_PER_MINUTE", "MAX_CONCURRENT_REQUESTS_PER_KEY")
        environ = services.environ | {
            "LUTHIER_ENGINE_URL": f"http://127.0.0.1:{engine_port}",
            "PORT": str(api_port),
            "LUTHIER_LOG_LEVEL": "warning",
            "LUTHIER_SPECULATIVE_DECODING": str(takes_drafts),
            "LUTHIER_MODELS_FILE": str(write_catalog(weights, is_int8=is_int8)),
            **{f"LUTHIER_{limit}": UNLIMITED for limit in limits},
        }
        key, models = register(services, weights)
        python = sys.executable
        engine_log, api_log = log.with_suffix(".engine"), log.with_suffix(".api")
        with (
            run_process(
                [python, "-m", "worker.inference"], engine_port, "/health", engine_log, environ
            ) as engine,
            run_process(
                [python, "-m", "app.cli", "api"], api_port, "/healthz", api_log, environ
            ) as api,
        ):
            if loads_adapters:
                load_adapters(engine_port, weights, models)
            yield [
                _make_peer("luthier-engine", engine_port, Processes(engine), weights, models),
                _make_peer("luthier-api", api_port, Processes(engine, api), weights, models, key),
            ]


def _make_peer(
    name: str,
    port: int,
    processes: Processes,
    weights: Weights,
    models: Mapping[str, str],
    key: str = "none",
) -> CompletionsPeer:
    return CompletionsPeer(
        name,
        port,
        processes,
        base=weights.model.id,
        names=list(models),
        extra=forbid_ends(weights.base),
        key=key,
    )


def link_cache(services: BackingServices, weights: Weights) -> None:
    """Use the base models that have been converted already."""
    cache = services.settings.home / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "models").symlink_to(weights.cache.resolve(), target_is_directory=True)


def register(services: BackingServices, weights: Weights) -> tuple[str, dict[str, str]]:
    """Store the adapters as fine-tuned models; returns a key, and storage prefixes by name."""
    engine = create_database_engine(services.database_url, pool_size=1)
    storage_identity.adopt(session_maker(engine), open_store(services.settings))
    engine.dispose()
    files = [AdapterFiles(folder.name, folder) for folder in weights.adapters]
    with one_off_transaction(services.database_url) as session:
        key, names = register_adapters(
            session, services, files, base=weights.model.id, method="supervised"
        )
        models = session.scalars(select(FineTunedModel)).all()
        prefixes = {model.name: model.storage_prefix for model in models}
    return key, {name: prefixes[name] for name in names}


def load_adapters(port: int, weights: Weights, models: Mapping[str, str]) -> None:
    for name, prefix in models.items():
        body = {"lora_name": name, "lora_path": prefix, "base_model_name": weights.model.id}
        url = f"http://127.0.0.1:{port}/v1/load_lora_adapter"
        httpx.post(url, json=body, timeout=60).raise_for_status()
