"""Training and serving on a GPU: speed, share of the device's limits, and correctness. Ten minutes.

    python -m bench.gpu [--shapes smollm2-135m llama-1b llama-8b] [--seconds 540] [--out FOLDER]

Models have the shapes of known ones and random weights, so that nothing is downloaded. Rows are
random token ids with log-normal lengths (mean 380, at most 2,048), half of them in the loss. Each
measurement prints one JSON line when it ends, and writes it into FOLDER (bench/results): what a
time limit cuts off does not take the rest with it. One that fails prints its error instead.

    limits      matrix products and memory copies per second
    equality    loss and gradients of our forward pass beside transformers' own, in float32
    batches     greedy tokens of a sequence alone and in a batch
    training    LoRA of rank 16, ours (also on 4-bit weights) beside transformers and PEFT; MFU
                counts what the rows need
    processes   ours in two processes, where there is a GPU for each
    peers       the same rows by TRL and Unsloth, where they are installed (`make bench-peers`)
    serving     prefill and decoding with many adapters in one batch

Without a GPU, `--shapes tiny` runs all of it on the processor, which shows that the script works.
"""

import argparse
import gc
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from bench.decoding import make_adapter
from bench.gpu_models import (
    BATCH_SIZE,
    CONTEXT_LENGTH,
    SHAPES,
    Shape,
    make_model,
    make_rows,
    make_tunable,
    synchronize,
)
from bench.gpu_peers import measure_peers
from bench.gpu_ranks import can_measure, measure_ranks
from bench.training.flops import FlopCount
from bench.training.in_process import Arm, make_luthier_arm, make_padded_arm
from worker.inference.decoder import PromptChunk
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.lora import LoraWeights
from worker.modeling import choose_device, choose_dtype
from worker.training.batching import Row
from worker.training.environment import get_environment_fingerprint

RESULTS = Path(__file__).parent / "results"
MEGABYTE = 2**20


def time_call(call: Callable[[], object]) -> float:
    """Measure the seconds that a call takes on the device."""
    synchronize()
    started_at = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - started_at


def reset_peak_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_megabytes() -> int | None:
    if not torch.cuda.is_available():
        return None
    return int(torch.cuda.max_memory_allocated() / MEGABYTE)


def measure_limits(dtype: torch.dtype) -> dict[str, Any]:
    """Measure the rates of a large matrix product and of a copy; the best of several."""
    device = choose_device()
    size = 8192 if device.type == "cuda" else 1024
    x = torch.randn(size, size, device=device, dtype=dtype)
    seconds = min(time_call(lambda: x @ x) for _ in range(20))
    source = torch.empty(size * size * 4, device=device, dtype=torch.uint8)
    copy_seconds = min(time_call(source.clone) for _ in range(20))
    return {
        "matrix_tflops": round(2 * size**3 / seconds / 1e12, 2),
        "copy_gb_per_second": round(2 * source.numel() / copy_seconds / 1e9, 1),
    }


def make_peer_arm(model: PeftModel) -> Arm:
    return make_padded_arm("transformers and peft", model, autocast=False)


def perturb(arm: Arm) -> None:
    """Give all adapter weights values, or half of the gradients would be zero."""
    generator = torch.Generator().manual_seed(1)
    for parameter in arm.parameters:
        noise = torch.randn(parameter.shape, generator=generator) * 0.02
        parameter.data.add_(noise.to(parameter))


def compare_gradients(shape: Shape) -> dict[str, Any]:
    """Compare gradients of two layers in float32; the largest difference by the largest value."""
    rows = make_rows(8, shape.vocab_size, max_tokens=512)
    gradients = []
    for make in (make_luthier_arm, make_peer_arm):
        arm = make(make_tunable(shape, torch.float32, layers=2))
        perturb(arm)
        arm.backward(rows)
        grads = [p.grad.flatten() for p in arm.parameters if p.grad is not None]
        gradients.append(torch.cat(grads).cpu())
        del arm
        reset_peak_memory()
    ours, theirs = gradients
    difference = (ours - theirs).abs().max() / theirs.abs().max()
    return {"gradient_difference": float(f"{difference:.2e}")}


def train(arm: Arm, batches: Sequence[Sequence[Row]]) -> float:
    """Train on batches, the first two before the clock starts. Returns seconds."""
    for batch in batches[:2]:
        arm.step(batch)
    return time_call(lambda: [arm.step(batch) for batch in batches[2:]])


def measure_training(
    make: Callable[[PeftModel], Arm],
    shape: Shape,
    dtype: torch.dtype,
    *,
    steps: int,
    tflops: float,
    quantize: bool = False,
) -> dict[str, Any]:
    rows = make_rows((steps + 2) * BATCH_SIZE, shape.vocab_size)
    batches = [rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE)]
    reset_peak_memory()
    model = make_tunable(shape, dtype, quantize=quantize)
    arm = make(model)
    seconds = train(arm, batches)
    timed = [row for batch in batches[2:] for row in batch]
    needed = FlopCount.of_model(model).for_rows(timed)
    return {
        "arm": f"{arm.name}, nf4" if quantize else arm.name,
        "tokens_per_second": round(sum(len(row.ids) for row in timed) / seconds),
        "percent_of_limit": round(100 * needed / seconds / 1e12 / tflops, 1),
        "peak_mb": peak_megabytes(),
    }


def prefill(decoder: LlamaDecoder, ids: Sequence[int], adapter: LoraWeights | None) -> int:
    """Compute a prompt in the last slot; return the most likely token after it."""
    decoder._slot_adapters[decoder.num_slots] = adapter
    return int(decoder.prefill([PromptChunk(decoder.num_slots, ids)])[0].logits[-1].argmax())


def decode_greedily(
    decoder: LlamaDecoder, prompts: Sequence[Sequence[int]], steps: int
) -> list[list[int]]:
    """Continue prompts of equal length in one batch; return the tokens of each."""
    tokens = []
    for slot, ids in enumerate(prompts):
        tokens.append([prefill(decoder, ids, None)])
        decoder.copy_slot(decoder.num_slots, slot, len(ids))
    for step in range(steps):
        positions = [len(prompts[0]) + step] * len(prompts)
        logits = decoder.decode(range(len(prompts)), [row[-1] for row in tokens], positions)
        for row, token in zip(tokens, logits.argmax(-1).tolist(), strict=True):
            row.append(token)
    return tokens


def make_prompts(count: int, length: int, vocab_size: int) -> list[list[int]]:
    generator = random.Random(0)
    return [[generator.randrange(10, vocab_size) for _ in range(length)] for _ in range(count)]


def compare_batches(shape: Shape, dtype: torch.dtype) -> dict[str, Any]:
    """Count the sequences whose greedy tokens are the same alone and in a batch."""
    decoder = LlamaDecoder(make_model(shape, dtype), context_length=256)
    prompts = make_prompts(min(16, decoder.num_slots), 48, shape.vocab_size)
    together = decode_greedily(decoder, prompts, 32)
    alone = [decode_greedily(decoder, [prompt], 32)[0] for prompt in prompts]
    same = sum(one == other for one, other in zip(alone, together, strict=True))
    return {"same": same, "of": len(prompts), "dtype": str(dtype)}


def measure_serving(shape: Shape, dtype: torch.dtype, *, steps: int) -> Iterator[dict[str, Any]]:
    decoder = LlamaDecoder(make_model(shape, dtype), context_length=CONTEXT_LENGTH)
    like = torch.zeros(1, dtype=dtype, device=choose_device())
    adapters = [make_adapter(decoder, like, shape.num_hidden_layers) for _ in range(16)]
    prompt = make_prompts(1, CONTEXT_LENGTH // 2, shape.vocab_size)[0]
    prefill(decoder, prompt, adapters[0])
    seconds = time_call(lambda: prefill(decoder, prompt, adapters[0]))
    yield {"prefill_tokens_per_second": round(len(prompt) / seconds), "slots": decoder.num_slots}
    for num_adapters, rows in ((0, 1), (1, 1), (1, 16), (16, 16), (16, 32)):
        if rows > decoder.num_slots:
            continue
        for slot in range(rows):
            adapter = adapters[slot % num_adapters] if num_adapters else None
            prefill(decoder, prompt[:64], adapter)
            decoder.copy_slot(decoder.num_slots, slot, 64)

        def decode(rows: int = rows) -> None:
            for step in range(steps):
                decoder.decode(range(rows), [11] * rows, [64 + step] * rows)

        decode()
        seconds = time_call(decode)
        yield {
            "adapters": num_adapters,
            "rows": rows,
            "ms_per_step": round(1000 * seconds / steps, 2),
            "tokens_per_second": round(rows * steps / seconds),
        }


class Report:
    """Prints a JSON line per measurement and writes it, until the time is over."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._deadline = time.perf_counter() + seconds
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"gpu-{time.strftime('%Y-%m-%dT%H-%M-%S')}.jsonl"

    def write(self, **fields: Any) -> None:
        line = json.dumps(fields)
        print(line, flush=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def measure(self, call: Callable[[], Any], **names: Any) -> dict[str, Any]:
        """Run a measurement that returns its fields, or yields them; write them."""
        reset_peak_memory()
        fields: dict[str, Any] = {}
        if time.perf_counter() > self._deadline:
            self.write(**names, skipped="out of time")
            return fields
        started_at = time.perf_counter()
        try:
            result = call()
            for fields in [result] if isinstance(result, dict) else result:
                self.write(**names, **fields)
        except Exception as error:  # What one measurement cannot do must not end the others.
            self.write(**names, error=f"{type(error).__name__}: {error}"[:400])
        self.write(**names, seconds=round(time.perf_counter() - started_at, 1))
        return fields


def measure_shape(
    report: Report, name: str, dtype: torch.dtype, *, steps: int, tflops: float
) -> None:
    shape = SHAPES[name]
    report.measure(lambda: compare_gradients(shape), measured="equality", shape=name)
    arms = ((make_luthier_arm, False), (make_luthier_arm, True), (make_peer_arm, False))
    for make, quantize in arms:
        training = partial(
            measure_training, make, shape, dtype, steps=steps, tflops=tflops, quantize=quantize
        )
        report.measure(training, measured="training", shape=name)
    if can_measure():
        ranks = partial(measure_ranks, name, steps=steps)
        report.measure(ranks, measured="processes", shape=name)
    rows = make_rows((steps + 2) * BATCH_SIZE, shape.vocab_size)
    report.measure(
        lambda: measure_peers(make_model(shape, dtype), rows, batch_size=BATCH_SIZE),
        measured="peers",
        shape=name,
    )
    with torch.inference_mode():
        serving = partial(measure_serving, shape, dtype, steps=steps)
        report.measure(serving, measured="serving", shape=name)
        for each in (torch.float32, dtype):
            batches = partial(compare_batches, shape, each)
            report.measure(batches, measured="batches", shape=name)


def run(arguments: argparse.Namespace) -> None:
    device = choose_device()
    dtype = choose_dtype(device)
    report = Report(arguments.out, arguments.seconds)
    report.write(**get_environment_fingerprint(device, dtype))
    limits = report.measure(lambda: measure_limits(dtype), measured="limits")
    for name in arguments.shapes:
        measure_shape(
            report,
            name,
            dtype,
            steps=20 if device.type == "cuda" else 2,
            tflops=limits.get("matrix_tflops", 1.0),
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    shapes = ["smollm2-135m", "llama-1b", "llama-8b"]
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=shapes)
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--out", type=Path, default=RESULTS)
    run(parser.parse_args())


if __name__ == "__main__":
    main()
