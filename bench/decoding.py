"""Decoding steps by torch, by native kernels, and by these in int8, in turn in one process.

    python -m bench.decoding --cache .luthier/cache/models [--cells 0,1 1,1 0,16 1,16 16,16]

A cell is a number of adapters (rank 16, random, all linear layers) and of rows, with 64 tokens
each. Prints one JSON line per cell: milliseconds of a step, minimum and median, and the ratios of
torch's to the others'.
By default one thread computes and its CPU time counts, which other load changes least; `--threads`
measures the clock.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from app.catalog import Catalog
from worker.inference.adapter_format import fuse_pairs
from worker.inference.decoder import PromptChunk
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.lora import LoraAB, LoraWeights
from worker.inference.native.library import load_kernels
from worker.model.llama import FUSED_LAYERS
from worker.model_sources import materialize
from worker.modeling import choose_dtype, load_base

MODEL = "smollm2-135m-instruct"
PROMPT_TOKENS = 64
RANK = 16
ROUNDS, STEPS = 4, 8


def make_adapter(decoder: LlamaDecoder, like: torch.Tensor, layers: int) -> LoraWeights:
    pairs = {}
    for layer in range(layers):
        for name, modules in FUSED_LAYERS.items():
            sizes = [decoder._linear_sizes[f"model.layers.{layer}.{each}"] for each in modules]
            parts = [
                (LoraAB(torch.randn(RANK, i) * 0.04, (torch.randn(RANK, o) * 0.02,)), o)
                for i, o in sizes
            ]
            if pair := fuse_pairs(parts):
                pairs[f"{layer}.{name}"] = pair.to(like)
    return decoder._forward.make_adapter(pairs)


def prefill_rows(decoder: LlamaDecoder, adapters: list[LoraWeights], rows: int) -> None:
    for row in range(rows):
        adapter = adapters[row % len(adapters)] if adapters else None
        decoder._slot_adapters[decoder.num_slots] = adapter
        ids = [(7 * row + 3 * n) % 40000 + 10 for n in range(PROMPT_TOKENS)]
        decoder.prefill([PromptChunk(decoder.num_slots, ids)])
        decoder.copy_slot(decoder.num_slots, row, PROMPT_TOKENS)


def time_steps(decoder: LlamaDecoder, rows: int, *, by_clock: bool) -> list[float]:
    clock = time.perf_counter if by_clock else time.thread_time
    times = []
    for step in range(STEPS):
        started_at = clock()
        decoder.decode(range(rows), range(100, 100 + rows), [PROMPT_TOKENS + step] * rows)
        times.append(1000 * (clock() - started_at))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path(".luthier/cache/models"))
    parser.add_argument("--cells", nargs="+", default=["0,1", "1,1", "0,16", "1,16", "16,16"])
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    torch.set_num_threads(args.threads or 1)
    torch.manual_seed(0)
    device = torch.device("cpu")
    model = next(model for model in Catalog.load(Path("models.toml")) if model.id == MODEL)
    base = load_base(materialize(model, args.cache), dtype=choose_dtype(device), device=device)
    kernels = load_kernels(args.cache.parent / "kernels", base.dtype)
    arms = {
        "torch": LlamaDecoder(base, context_length=512),
        "native": LlamaDecoder(base, context_length=512, kernels=kernels),
        "int8": LlamaDecoder(base, context_length=512, kernels=kernels, is_int8=True),
    }
    layers, like = base.config.num_hidden_layers, torch.zeros(1, dtype=base.dtype)
    adapters = [make_adapter(arms["native"], like, layers) for _ in range(16)]
    with torch.inference_mode():
        for cell in args.cells:
            count, rows = map(int, cell.split(","))
            for decoder in arms.values():
                prefill_rows(decoder, adapters[:count], rows)
            times: dict[str, list[float]] = {name: [] for name in arms}
            for _ in range(ROUNDS):
                for name, decoder in arms.items():
                    times[name] += time_steps(decoder, rows, by_clock=bool(args.threads))
            print(json.dumps({"adapters": count, "rows": rows, **summarize(times)}), flush=True)


def summarize(times: dict[str, list[float]]) -> dict[str, float]:
    least = {name: round(min(each), 1) for name, each in times.items()}
    median = {name: round(statistics.median(each), 1) for name, each in times.items()}
    return {
        **{f"{name}_ms_min": value for name, value in least.items()},
        **{f"{name}_ms_median": value for name, value in median.items()},
        **{f"{name}_speedup": round(median["torch"] / median[name], 2) for name in times},
    }


if __name__ == "__main__":
    main()
