"""Benchmark of the engine's chat streams: a closed loop of concurrent clients.

    python -m bench.engine [--clients 1 4 8] [--adapters 0] [--tokens 64] [--url URL --home FOLDER]

Each client sends one request after the other and reads its stream. `--adapters N` makes N random
LoRAs of rank 16, stores them in `--home` and requests them in turn. Without `--url` an engine is
started in a temporary folder. Prints one JSON line per number of clients: total tokens per second,
milliseconds to the first token (TTFT) and between tokens (ITL).
"""

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import torch
from peft import PeftModel
from torch import nn

from app.catalog import Catalog
from app.storage import LocalStore
from worker.model_sources import materialize
from worker.modeling import add_adapter, load_base, save_adapter

MODEL = "smollm2-135m-instruct"
URL = "http://127.0.0.1:28111"
WORDS = Path(__file__).read_text(encoding="utf-8").split()
# Bans the end-of-turn token, so that every response has the same length.
NO_EOS_BIAS = {"2": -100}


@dataclass(frozen=True, slots=True)
class TimedRequest:
    """Arrival times of a request's tokens, in seconds after it was sent."""

    token_seconds: list[float]


@contextmanager
def running_engine(home: Path) -> Iterator[None]:
    environment = {**os.environ, "LUTHIER_HOME": str(home), "LUTHIER_ENGINE_URL": URL}
    process = subprocess.Popen([sys.executable, "-m", "worker.inference"], env=environment)
    try:
        while not is_healthy():
            if process.poll() is not None:
                raise SystemExit("the engine did not start")
            time.sleep(0.3)
        yield
    finally:
        process.terminate()
        process.wait(30)


def is_healthy() -> bool:
    try:
        return httpx.get(f"{URL}/health").status_code == 200
    except httpx.TransportError:
        return False


def make_adapters(count: int, home: Path, url: str) -> list[str]:
    """Store random adapters and load them into the engine; return their names."""
    if not count:
        return []
    model = next(model for model in Catalog.load(Path("models.toml")) if model.id == MODEL)
    folder = materialize(model, home / "cache" / "models")
    base = load_base(folder, dtype=torch.float32, device=torch.device("cpu"))
    tuned = add_adapter(base, rank=16, alpha=32, base_model=MODEL, seed=0)
    names = []
    for number in range(count):
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.02)
        names.append(store_adapter(tuned, number, home, url))
    return names


def store_adapter(tuned: PeftModel, number: int, home: Path, url: str) -> str:
    prefix, name = f"bench/{number}", f"ft:{MODEL}:bench::{number:08d}"
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(tuned, Path(folder))
        for path in Path(folder).iterdir():
            LocalStore(home / "storage").upload(path, f"{prefix}/{path.name}")
    body = {"lora_name": name, "lora_path": prefix, "base_model_name": MODEL}
    httpx.post(f"{url}/v1/load_lora_adapter", json=body, timeout=60).raise_for_status()
    return name


def send_request(url: str, model: str, tokens: int, seed: int) -> TimedRequest:
    words = random.Random(seed).choices(WORDS, k=40)
    body = {
        "model": model,
        "messages": [{"role": "user", "content": " ".join(words)}],
        "temperature": 0,
        "max_tokens": tokens,
        "logit_bias": NO_EOS_BIAS,
        "stream": True,
        # Yields a chunk per token, even for tokens inside of a character.
        "logprobs": True,
    }
    started_at, times = time.perf_counter(), []
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=600) as response:
        for line in response.iter_lines():
            if '"logprobs":{' in line:
                times.append(time.perf_counter() - started_at)
    return TimedRequest(times)


def measure(url: str, models: list[str], clients: int, tokens: int) -> None:
    requests = max(4, 3 * clients)
    model_cycle = itertools.cycle(models)
    jobs = [(next(model_cycle), seed) for seed in range(requests)]
    started_at = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        timed = list(pool.map(lambda job: send_request(url, job[0], tokens, job[1]), jobs))
    seconds = time.perf_counter() - started_at
    intervals = [b - a for request in timed for a, b in itertools.pairwise(request.token_seconds)]
    result = {
        "clients": clients,
        "adapters": len(models) if models != [MODEL] else 0,
        "tokens_per_second": round(tokens * requests / seconds, 1),
        "first_token_ms": round(1000 * statistics.median(t.token_seconds[0] for t in timed)),
        "between_tokens_ms_p50": round(1000 * statistics.median(intervals), 1),
        "between_tokens_ms_p95": round(1000 * statistics.quantiles(intervals, n=20)[-1], 1),
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(result), flush=True)


def run(args: argparse.Namespace, home: Path, url: str) -> None:
    models = make_adapters(args.adapters, home, url) or [MODEL]
    send_request(url, models[0], 4, 0)
    for clients in args.clients:
        measure(url, models, clients, args.tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--adapters", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--url")
    parser.add_argument("--home", type=Path)
    args = parser.parse_args()
    if args.url:
        run(args, args.home or Path(".luthier"), args.url)
        return
    with tempfile.TemporaryDirectory() as folder:
        home = args.home or Path(folder)
        with running_engine(home):
            run(args, home, URL)


if __name__ == "__main__":
    main()
