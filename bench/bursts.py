"""Time to the first token of requests that come at once, without HTTP.

    python -m bench.bursts [--adapters 0 1 16] [--requests 16] [--prompt 64] [--rounds 5]
        [--cache .luthier/cache/models]

Each of `--requests` prompts of random tokens is for one of the adapters in turn (rank 16, random,
all linear layers), and generates 16 tokens. One thread computes and its CPU time counts, which
other load on the machine changes least; `--threads` measures the clock. Prints a JSON line per
number of adapters: milliseconds to the first token, p50 and p95 of all rounds, and of a burst.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM

from app.catalog import Catalog
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.engine import Engine
from worker.inference.loaded_model import load_model
from worker.inference.messages import Event, Request, SamplingParams, Token
from worker.model_sources import materialize
from worker.modeling import save_adapter
from worker.run_folder import write_manifest

MODEL = "smollm2-135m-instruct"
TOKENS = 16
RANK = 16


def make_adapters(base: Path, folder: Path, count: int) -> list[AdapterFiles]:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    tuned = get_peft_model(model, LoraConfig(r=RANK, target_modules="all-linear"))
    adapters = []
    for number in range(count):
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter.data, std=0.02)
        target = folder / f"adapter-{number}"
        target.mkdir()
        save_adapter(tuned, target)
        write_manifest(target)
        adapters.append(AdapterFiles(target.name, target))
    return adapters


def run_burst(
    engine: Engine, requests: list[Request], events: dict[int, float], clock: Callable[[], float]
) -> float:
    """Return the seconds of all; `events` gets those to the first token by request."""
    began = clock()
    for request in requests:
        engine.submit(request)
    while not engine.is_idle:
        engine.step()
    for number in events:
        events[number] -= began
    return clock() - began


def make_requests(
    prompts: list[list[int]],
    adapters: list[AdapterFiles],
    first_at: dict[int, float],
    clock: Callable[[], float],
) -> list[Request]:
    def emitter(number: int) -> Callable[[Event], None]:
        def emit(event: Event) -> None:
            if isinstance(event, Token):
                first_at.setdefault(number, clock())

        return emit

    return [
        Request(
            prompt=prompt,
            num_choices=1,
            max_new_tokens=TOKENS,
            stop_ids=frozenset(),
            sampling=SamplingParams(temperature=0),
            adapter=adapters[number % len(adapters)] if adapters else None,
            emit=emitter(number),
        )
        for number, prompt in enumerate(prompts)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--adapters", type=int, nargs="+", default=[0, 1, 16])
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--cache", type=Path, default=Path(".luthier/cache/models"))
    arguments = parser.parse_args()
    clock = time.perf_counter if arguments.threads else time.thread_time
    torch.set_num_threads(arguments.threads or 1)
    model = next(each for each in Catalog.load(Path("models.toml")) if each.id == MODEL)
    engine = load_model(model, arguments.cache).engine
    assert isinstance(engine, Engine)
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        base = materialize(model, arguments.cache)
        adapters = make_adapters(base, Path(folder), max(arguments.adapters))
        for count in arguments.adapters:
            firsts: list[float] = []
            totals: list[float] = []
            # The first round loads the adapters.
            for number in range(arguments.rounds + 1):
                prompts = [
                    [draw.randrange(100, 49000) for _ in range(arguments.prompt)]
                    for _ in range(arguments.requests)
                ]
                first_at: dict[int, float] = {}
                requests = make_requests(prompts, adapters[:count], first_at, clock)
                total = run_burst(engine, requests, first_at, clock)
                if number:
                    firsts += first_at.values()
                    totals.append(total)
            print(json.dumps(summarize(count, firsts, totals)), flush=True)


def summarize(count: int, firsts: list[float], totals: list[float]) -> dict[str, float]:
    ordered = sorted(1000 * each for each in firsts)
    return {
        "adapters": count,
        "ttft_p50_ms": round(statistics.median(ordered), 1),
        "ttft_p95_ms": round(ordered[len(ordered) * 95 // 100], 1),
        "burst_ms": round(1000 * statistics.median(totals), 1),
    }


if __name__ == "__main__":
    main()
