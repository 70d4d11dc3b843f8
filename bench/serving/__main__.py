"""Serving beside other engines: the same weights, prompts and cores, in interleaved rounds.

    python -m bench.serving [--peers engine api llama-bf16 llama-q8 vllm transformers]
        [--cells D16C16P64 D1C1P64 …] [--rounds 3] [--minutes 30]
        [--int8] [--no-drafts] [--llama-server PATH] [--vllm-python PATH] [--cache FOLDER]

A cell is D adapters, C clients that each wait for their answer (or R arrivals per second at random
times), and prompts of P random tokens; 64 tokens are generated, greedily. D0 is the base model. Z
instead of D asks the n-th adapter in proportion to 1/n, and none is loaded before (for the API).
All peers run at once and are asked in turn, so a busy machine slows them alike. Every answer is
checked to have 64 tokens. A peer without its program is left out with a line. Prints a JSON line
per measurement, then a table per cell.
"""

import argparse
import asyncio
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from transformers import AutoConfig

from bench.serving.generate import GeneratePeer, run_generate
from bench.serving.luthier import run_luthier
from bench.serving.peers import CompletionsPeer, LlamaPeer, Processes, run_llama, run_vllm
from bench.serving.report import Measurement, table
from bench.serving.traffic import (
    Cell,
    Question,
    Timing,
    ask,
    closed_loop,
    make_questions,
    open_loop,
)
from bench.serving.weights import Weights, prepare

MODEL = "smollm2-135m-instruct"
PEERS = ("engine", "api", "llama-bf16", "llama-q8", "vllm", "transformers")
CELL = re.compile(r"([DZ])(\d+)(?:C(\d+)|R([\d.]+))P(\d+)")
CELLS = (
    *(f"D{d}C{c}P64" for c in (1, 16) for d in (0, 1, 4, 16)),
    *("D0C16P1024", "D16C16P1024", "D1C1P1024", "D16R2P64"),
)
# Requests per client of a cell; open-loop cells have OPEN_REQUESTS.
CLIENT_REQUESTS = 2
MIN_REQUESTS = 4
OPEN_REQUESTS = 40
CELL_SECONDS = 300

Peer = CompletionsPeer | LlamaPeer | GeneratePeer


def parse_cell(text: str) -> Cell:
    match = CELL.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text} is not like D16C16P64 or Z200R2P64")
    kind, adapters, clients, rate, prompt = match.groups()
    return Cell(
        int(adapters),
        int(clients or 16),
        int(prompt),
        float(rate) if rate else None,
        is_zipf=kind == "Z",
    )


def start_peers(
    stack: ExitStack, arguments: argparse.Namespace, weights: Weights
) -> Iterator[Peer]:
    wanted, logs = arguments.peers, weights.folder
    if "engine" in wanted or "api" in wanted:
        engine, api = stack.enter_context(
            run_luthier(
                weights,
                logs / "luthier.log",
                is_int8=arguments.int8,
                takes_drafts=not arguments.no_drafts,
                loads_adapters=not any(cell.is_zipf for cell in arguments.cells),
            )
        )
        yield from [engine] * ("engine" in wanted) + [api] * ("api" in wanted)
    server = arguments.llama_server
    if {"llama-bf16", "llama-q8"} & set(wanted) and server is None:
        print("llama.cpp is left out: no --llama-server", flush=True)
    elif server is not None:
        models: dict[str, Callable[[], Path]] = {
            "llama-bf16": weights.base_gguf,
            "llama-q8": partial(weights.quantized_gguf, server.with_name("llama-quantize")),
        }
        for name in [name for name in models if name in wanted]:
            log = logs / f"{name}.log"
            yield stack.enter_context(run_llama(name, server, models[name](), weights, log))
    if "vllm" in wanted and arguments.vllm_python is None:
        print("vLLM is left out: no --vllm-python", flush=True)
    elif "vllm" in wanted:
        yield stack.enter_context(run_vllm(arguments.vllm_python, weights, logs / "vllm.log"))
    if "transformers" in wanted:
        yield stack.enter_context(run_generate(weights))


def send_all(peer: Peer, cell: Cell, questions: list[Question], seed: int) -> list[Timing]:
    if isinstance(peer, GeneratePeer):
        return peer.ask(questions, cell.clients)
    send = partial(ask, peer)

    async def run() -> list[Timing]:
        async with asyncio.timeout(CELL_SECONDS):
            if cell.rate is not None:
                return await open_loop(send, questions, cell.rate, seed=seed)
            return await closed_loop(send, questions, cell.clients)

    return asyncio.run(run())


def measure(peer: Peer, cell: Cell, vocab_size: int, seed: int) -> Measurement:
    count = max(CLIENT_REQUESTS * cell.clients, MIN_REQUESTS)
    count = count if cell.rate is None else OPEN_REQUESTS
    questions = make_questions(cell, count, seed=seed, vocab_size=vocab_size)
    processes: Processes = peer.processes
    before = processes.cpu_seconds()
    timings = send_all(peer, cell, questions, seed)
    return Measurement.of(timings, processes.cpu_seconds() - before, processes.resident_mb())


def warm_up(peer: Peer, cells: list[Cell], vocab_size: int) -> None:
    """Have every adapter and prompt length used once, so that nothing is loaded in a round."""
    adapters = max(cell.adapters for cell in cells)
    for length in sorted({cell.prompt_tokens for cell in cells}):
        cell = Cell(adapters, max(adapters, 4), length, tokens=4)
        questions = make_questions(cell, cell.clients, seed=-1, vocab_size=vocab_size)
        send_all(peer, cell, questions, -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--cells", nargs="+", type=parse_cell, default=[*map(parse_cell, CELLS)])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=30, help="start no round after these")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--cache", type=Path, default=Path(".luthier/cache/models"))
    parser.add_argument("--int8", action="store_true", help="hold our own engine's weights so")
    parser.add_argument("--no-drafts", action="store_true", help="without speculative decoding")
    parser.add_argument("--llama-server", type=Path, help="beside `llama-quantize`")
    parser.add_argument("--vllm-python", type=Path, help="of an environment that has vLLM")
    arguments = parser.parse_args()
    deadline = time.monotonic() + 60 * arguments.minutes
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as folder, ExitStack() as stack:
        Path(folder).chmod(0o711)
        count = max(cell.adapters for cell in arguments.cells)
        weights = prepare(arguments.model, arguments.cache, Path(folder), count)
        vocab_size = int(AutoConfig.from_pretrained(weights.base).vocab_size)
        peers = list(start_peers(stack, arguments, weights))
        cells = [cell for cell in arguments.cells if not cell.is_zipf]
        for peer in peers if cells else []:
            warm_up(peer, cells, vocab_size)
        for cell in arguments.cells:
            rounds: dict[str, list[Measurement]] = {peer.name: [] for peer in peers}
            for number in range(arguments.rounds):
                if time.monotonic() > deadline:
                    break
                for peer in peers:
                    measurement = measure(peer, cell, vocab_size, number)
                    rounds[peer.name].append(measurement)
                    line = {"cell": cell.name, "round": number, "peer": peer.name}
                    print(json.dumps(line | asdict(measurement)), flush=True)
            print(f"\n{table(cell.name, rounds, peers[0].name)}\n", flush=True)


if __name__ == "__main__":
    main()
