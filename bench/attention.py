"""Attention of training rows on a CPU: native tiles, native products, and torch's fused kernel.

    python -m bench.attention [--threads N] [--rounds N]

Forward and backward pass of two rows of each length, with the heads of SmolLM2-135M in bfloat16;
the ways take turns. Products keep all weights, and are there for short rows. Prints a JSON line per
length, in milliseconds, with the ratios to tiles.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.functional import scaled_dot_product_attention

from worker.training.attention_products import Heads
from worker.training.native_fused_ops import NativeFusedOps, choose_fused_ops, find_kernels
from worker.training.workspace import Workspace

ROWS, HEADS, KV_HEADS, HEAD_DIM = 2, 9, 3, 64
LENGTHS = (64, 96, 192, 256, 384, 512, 1000, 2000)
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        ops = choose_fused_ops(find_kernels(Path(folder), torch.bfloat16, CPU))
        if not isinstance(ops, NativeFusedOps):
            raise SystemExit("this machine has no C compiler")
        for length in LENGTHS:
            print(json.dumps(measure(ops, length, arguments.rounds)), flush=True)


def measure(ops: NativeFusedOps, length: int, rounds: int) -> dict[str, object]:
    shapes = ((ROWS, number, length, HEAD_DIM) for number in (HEADS, KV_HEADS, KV_HEADS))
    heads = Heads(*(torch.randn(shape).bfloat16() for shape in shapes))
    grad = torch.randn_like(heads.q)
    out, grads = torch.empty_like(grad), Heads(*map(torch.empty_like, heads))
    memory = Workspace(CPU)

    def run_ops(max_product_length: int) -> None:
        ops.max_product_length = max_product_length
        memory.release_all()
        kept = ops.attend(heads, out, memory)
        ops.attend_backward(heads, out, kept, grad, grads, memory)

    def run_torch() -> None:
        q, k, v = (part.detach().requires_grad_() for part in heads)
        attended = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        attended.backward(grad)

    ways: dict[str, Callable[[], None]] = {
        "tiles": lambda: run_ops(0),
        "torch": run_torch,
    }
    if length <= NativeFusedOps.max_product_length:
        ways["products"] = lambda: run_ops(length)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            # The first turn generates code and touches memory.
            if number:
                times[name].append(1e3 * (time.perf_counter() - start))
    medians = {name: round(statistics.median(of_way), 2) for name, of_way in times.items()}
    return {"length": length, **medians, **compute_ratios(times)}


def compute_ratios(times: dict[str, list[float]]) -> dict[str, list[float]]:
    """Minimum, median and maximum of each way's ratio to tiles, round by round."""
    ratios = {}
    for name in sorted(times.keys() - {"tiles"}):
        pairs = zip(times[name], times["tiles"], strict=True)
        ordered = sorted(round(way / tiles, 2) for way, tiles in pairs)
        ratios[f"{name} / tiles"] = [ordered[0], statistics.median(ordered), ordered[-1]]
    return ratios


if __name__ == "__main__":
    main()
