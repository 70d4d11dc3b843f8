"""LoRA training throughput, compared with transformers and PEFT, and with the processor's limit.

    python -m bench.training [--train FILE] [--model ID] [--batch 8] [--rounds 3] [--seconds 8]

Trains LoRA on the rows of a chat file with three arms: our training loop, transformers with PEFT as
one would write it by hand (padded batches, the head on every token), and the same with TRL 1.16's
default settings (float32 weights under bfloat16 autocast, gradient checkpointing). Rows, batches,
optimizer and threads are equal. The arms alternate, so that a busy machine slows them all.

Prints JSON lines: one for each turn, then one for each peer. Tokens are those of the rows, without
padding. `tokens_per_second` is by wall clock; `tokens_per_cpu_second` is by processor time, which
is what the wall clock would show on otherwise idle cores, and the basis of ratios and limits. A
ratio is significant if it exceeds its spread. `percent_of_limit` compares the arithmetic that the
tokens need with the processor's matrix multiplication rate. Our loop computes a common prefix of a
micro-batch's rows only once, for which the limit makes no allowance.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn.utils import clip_grad_norm_

from app.catalog import Catalog
from worker.model.rendering import Renderer
from worker.model_sources import materialize
from worker.modeling import (
    adapter_parameters,
    add_adapter,
    choose_device,
    choose_dtype,
    load_base,
    load_tokenizer,
)
from worker.training.__main__ import TORCH_ENVIRONMENT
from worker.training.batching import Row
from worker.training.forward import choose_causal_lm
from worker.training.objective_building import MAX_TOKENS
from worker.training.objectives.supervised import SupervisedObjective, read_rows
from worker.training.recipe import ADAM_BETAS, LORA_ALPHA, LORA_RANK, MAX_GRAD_NORM
from worker.training.sampler import EpochSampler

EXAMPLE = Path("examples/workshop.train.jsonl")
Step = Callable[[Sequence[Row]], None]


@dataclass(frozen=True, slots=True)
class Arm:
    """A training implementation: its backward pass of one batch, parameters and optimizer."""

    name: str
    backward: Step
    parameters: list[torch.nn.Parameter]
    optimizer: torch.optim.Optimizer

    def step(self, rows: Sequence[Row]) -> None:
        self.backward(rows)
        clip_grad_norm_(self.parameters, MAX_GRAD_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()


def make_arm(name: str, model: PeftModel, backward: Step) -> Arm:
    parameters = list(adapter_parameters(model).values())
    optimizer = torch.optim.AdamW(
        parameters, lr=1e-4, betas=ADAM_BETAS, weight_decay=0.0, fused=True
    )
    return Arm(name, backward, parameters, optimizer)


def make_luthier_arm(model: PeftModel) -> Arm:
    device = choose_device()
    objective = SupervisedObjective(
        choose_causal_lm(model), device, max_tokens=MAX_TOKENS[device.type], max_rows=None
    )

    def backward(rows: Sequence[Row]) -> None:
        total = objective.num_items(rows)
        for part in objective.split(rows):
            (objective.compute_loss(part).loss / total).backward()

    return make_arm("luthier", model, backward)


def make_padded_arm(name: str, model: PeftModel, *, autocast: bool) -> Arm:
    device = choose_device()

    def backward(rows: Sequence[Row]) -> None:
        width = max(len(row.ids) for row in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        labels = torch.full_like(ids, -100)
        for index, row in enumerate(rows):
            ids[index, : len(row.ids)] = torch.from_numpy(row.ids)
            mask[index, : len(row.ids)] = 1
            labels[index, row.label_positions] = ids[index, row.label_positions]
        inputs = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = model(**{key: value.to(device) for key, value in inputs.items()}).loss
        loss.backward()

    return make_arm(name, model, backward)


def build_arms(folder: Path) -> list[Arm]:
    device = choose_device()
    dtype = choose_dtype(device)

    def model(dtype: torch.dtype) -> PeftModel:
        base = load_base(folder, dtype=dtype, device=device)
        return add_adapter(base, rank=LORA_RANK, alpha=LORA_ALPHA, base_model="bench", seed=0)

    default = model(torch.float32)
    default.train()
    default.enable_input_require_grads()
    default.gradient_checkpointing_enable({"use_reentrant": False})
    return [
        make_luthier_arm(model(dtype)),
        make_padded_arm("transformers and peft", model(dtype), autocast=False),
        make_padded_arm("transformers and peft, trl's settings", default, autocast=True),
    ]


@dataclass(frozen=True, slots=True)
class FlopCount:
    """Minimum floating-point operations per token, of forward and backward pass together."""

    linear: int
    lora: int
    attention: int
    head: int

    @classmethod
    def of_model(cls, model: PeftModel) -> "FlopCount":
        config: Any = model.get_base_model().config
        named = dict(model.named_parameters())
        linear = sum(p.numel() for name, p in named.items() if "base_layer.weight" in name)
        lora = sum(p.numel() for p in adapter_parameters(model).values())
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        width = config.num_attention_heads * size * config.num_hidden_layers
        return cls(linear, lora, width, config.vocab_size * config.hidden_size)

    def for_rows(self, rows: Sequence[Row]) -> float:
        """Operations for `rows`: two products with frozen weights, three with LoRA's; causal."""
        return sum(
            len(row.ids) * (4 * self.linear + 6 * self.lora)
            + 7 * len(row.ids) ** 2 * self.attention
            + len(row.label_positions) * 4 * self.head
            for row in rows
        )


def measure_matmul_flops(dtype: torch.dtype) -> float:
    """Best operations per second of many matrix products of a typical size in training."""
    x, w = torch.randn(1024, 576, dtype=dtype), torch.randn(1536, 576, dtype=dtype)
    device = choose_device()
    x, w = x.to(device), w.to(device)

    def seconds() -> float:
        started = time.perf_counter()
        (x @ w.T).sum().item()
        return time.perf_counter() - started

    return 2 * 1024 * 576 * 1536 / min(seconds() for _ in range(200))


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Wall clock seconds, and processor seconds divided by the number of threads."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "Stopwatch":
        wall = time.perf_counter()
        on_cpu = choose_device().type == "cpu"
        return cls(wall, time.process_time() / torch.get_num_threads() if on_cpu else wall)

    def since(self, earlier: "Stopwatch") -> "Stopwatch":
        return Stopwatch(self.wall - earlier.wall, self.cpu - earlier.cpu)


def train_for(
    arm: Arm, sampler: EpochSampler[Row], steps: "count[int]", seconds: float
) -> list[Row]:
    """Train for about `seconds`; return the rows that were trained on."""
    seen: list[Row] = []
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        rows = sampler.batch(next(steps))
        arm.step(rows)
        seen += rows
    return seen


def compare(arguments: argparse.Namespace) -> None:
    model = Catalog.load(arguments.models).get(arguments.model)
    if model is None:
        raise SystemExit(f"{arguments.models} has no model {arguments.model}")
    folder = materialize(model, arguments.cache)
    renderer = Renderer(load_tokenizer(folder), model.context_length)
    rows = read_rows(arguments.train, renderer, param="training_file").rows
    sampler = EpochSampler(rows, batch_size=min(arguments.batch, len(rows)), n_epochs=10**6, seed=0)
    arms = build_arms(folder)
    flops = FlopCount.of_model(
        add_adapter(
            load_base(folder, dtype=torch.float32, device=torch.device("cpu")),
            rank=LORA_RANK, alpha=LORA_ALPHA, base_model="bench", seed=0,
        )
    )  # fmt: skip
    speeds: dict[str, list[float]] = {arm.name: [] for arm in arms}
    counters = {arm.name: count(1) for arm in arms}
    for arm in arms:
        arm.step(sampler.batch(next(counters[arm.name])))
    rate = measure_matmul_flops(choose_dtype(choose_device()))
    for round_number in range(1, arguments.rounds + 1):
        for arm in arms:
            started = Stopwatch.now()
            seen = train_for(arm, sampler, counters[arm.name], arguments.seconds)
            elapsed = Stopwatch.now().since(started)
            tokens = sum(len(row.ids) for row in seen)
            speeds[arm.name].append(tokens / elapsed.cpu)
            print_json(
                round=round_number,
                arm=arm.name,
                tokens_per_second=round(tokens / elapsed.wall),
                tokens_per_cpu_second=round(tokens / elapsed.cpu),
                percent_of_limit=round(100 * flops.for_rows(seen) / elapsed.cpu / rate),
                matrix_gflops=round(rate / 1e9),
            )
    print_ratios(speeds)


def print_ratios(speeds: dict[str, list[float]]) -> None:
    (name, luthier_speeds), *peers = speeds.items()
    for peer, peer_speeds in peers:
        ratios = [ours / theirs for ours, theirs in zip(luthier_speeds, peer_speeds, strict=True)]
        print_json(
            arm=name,
            peer=peer,
            tokens_per_cpu_second=round(statistics.median(luthier_speeds)),
            peer_tokens_per_cpu_second=round(statistics.median(peer_speeds)),
            ratio=round(statistics.median(ratios), 2),
            spread=[round(min(ratios), 2), round(max(ratios), 2)],
        )


def print_json(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--train", type=Path, default=EXAMPLE)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--models", type=Path, default=Path("models.toml"))
    parser.add_argument("--cache", type=Path, default=Path(".luthier/cache/models"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    if TORCH_ENVIRONMENT.items() - os.environ.items():
        # torch reads these on import; the training process sets them in the same way.
        command = [sys.executable, "-m", "bench.training", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **TORCH_ENVIRONMENT})
    compare(arguments)


if __name__ == "__main__":
    main()
