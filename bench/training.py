"""How fast does training go, and how near to what the processor can do?

    python -m bench.training [--train FILE] [--model ID] [--batch 8] [--rounds 3] [--seconds 8]

Trains LoRA on the rows of a chat file, in turn with our loop and with transformers and PEFT alone:
once as one would write it by hand (padded batches, the head on every token), once with the
settings that TRL 1.16 comes with (float32 weights under bfloat16 autocast, activations computed
twice). Same rows, batches, optimizer and threads. Arms take turns, so that a busy machine slows
all of them.

Prints JSON lines: one a turn, then one a peer. Tokens are those of the rows, fillings not counted.
`tokens_per_second` is by the clock; `alone`, by the processor time used, is what the clock would
show if nothing else ran on these cores, and what ratios and limits are made from. A ratio means
something if it is larger than its spread. `percent_of_limit` compares the arithmetic that the
tokens need with what the processor does when it only multiplies matrices. The loop computes only
once what all rows of a micro-batch begin with, for which the limit makes no allowance.
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
from worker.modeling import (
    adapter_parameters,
    add_adapter,
    choose_device,
    choose_dtype,
    load_base,
    load_tokenizer,
    materialize,
)
from worker.rendering import Renderer
from worker.training.__main__ import TORCH_ENVIRONMENT
from worker.training.batching import Row
from worker.training.builder import MAX_TOKENS
from worker.training.forward import choose_causal_lm
from worker.training.objectives.supervised import SupervisedObjective, read_rows
from worker.training.recipe import ADAM_BETAS, LORA_ALPHA, LORA_RANK, MAX_GRAD_NORM
from worker.training.sampler import EpochSampler

EXAMPLE = Path("examples/workshop.train.jsonl")
Step = Callable[[Sequence[Row]], None]


@dataclass(frozen=True, slots=True)
class Arm:
    """A way to train: its loss, backwards, of one batch, and the weights that it trains."""

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


def luthier_arm(model: PeftModel) -> Arm:
    device = choose_device()
    objective = SupervisedObjective(
        choose_causal_lm(model), device, max_tokens=MAX_TOKENS[device.type], max_rows=None
    )

    def backward(rows: Sequence[Row]) -> None:
        total = objective.num_items(rows)
        for part in objective.split(rows):
            (objective.compute_loss(part).loss / total).backward()

    return make_arm("luthier", model, backward)


def padded_arm(name: str, model: PeftModel, *, autocast: bool) -> Arm:
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
        luthier_arm(model(dtype)),
        padded_arm("transformers and peft", model(dtype), autocast=False),
        padded_arm("transformers and peft, trl's settings", default, autocast=True),
    ]


@dataclass(frozen=True, slots=True)
class FlopCount:
    """What a token costs at least, in floating-point operations of forward and backward."""

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
        """Frozen weights are multiplied with twice, LoRA three times; attention is causal."""
        return sum(
            len(row.ids) * (4 * self.linear + 6 * self.lora)
            + 7 * len(row.ids) ** 2 * self.attention
            + len(row.label_positions) * 4 * self.head
            for row in rows
        )


def measure_matmul_flops(dtype: torch.dtype) -> float:
    """Operations per second of the best of many products of a size that training has."""
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
    """Seconds by the clock, and seconds for which all of our threads' cores were busy with us."""

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
    arm: Arm, schedule: EpochSampler[Row], steps: "count[int]", seconds: float
) -> list[Row]:
    """Train for about so long; the rows that were trained on."""
    seen: list[Row] = []
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        rows = schedule.batch(next(steps))
        arm.step(rows)
        seen += rows
    return seen


def compare(arguments: argparse.Namespace) -> None:
    model = Catalog.load(arguments.models).get(arguments.model)
    if model is None:
        raise SystemExit(f"{arguments.models} has no model {arguments.model}")
    folder = materialize(model, arguments.cache)
    renderer = Renderer(load_tokenizer(folder), model.context_length)
    rows = read_rows(arguments.train, renderer, param="training_file")
    schedule = EpochSampler(
        rows, batch_size=min(arguments.batch, len(rows)), n_epochs=10**6, seed=0
    )
    contestants = build_arms(folder)
    arithmetic = FlopCount.of_model(
        add_adapter(
            load_base(folder, dtype=torch.float32, device=torch.device("cpu")),
            rank=LORA_RANK, alpha=LORA_ALPHA, base_model="bench", seed=0,
        )
    )  # fmt: skip
    speeds: dict[str, list[float]] = {arm.name: [] for arm in contestants}
    counters = {arm.name: count(1) for arm in contestants}
    for arm in contestants:
        arm.step(schedule.batch(next(counters[arm.name])))
    rate = measure_matmul_flops(choose_dtype(choose_device()))
    for number in range(1, arguments.rounds + 1):
        for arm in contestants:
            started = Stopwatch.now()
            seen = train_for(arm, schedule, counters[arm.name], arguments.seconds)
            spent = Stopwatch.now().since(started)
            tokens = sum(len(row.ids) for row in seen)
            speeds[arm.name].append(tokens / spent.cpu)
            print_json(
                round=number,
                arm=arm.name,
                tokens_per_second=round(tokens / spent.wall),
                alone=round(tokens / spent.cpu),
                percent_of_limit=round(100 * arithmetic.for_rows(seen) / spent.cpu / rate),
                matrix_gflops=round(rate / 1e9),
            )
    print_ratios(speeds)


def print_ratios(speeds: dict[str, list[float]]) -> None:
    (name, own), *peers = speeds.items()
    for peer, theirs in peers:
        ratios = [mine / other for mine, other in zip(own, theirs, strict=True)]
        print_json(
            arm=name,
            peer=peer,
            alone=round(statistics.median(own)),
            peer_alone=round(statistics.median(theirs)),
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
        # As the training process does: torch reads these when it is loaded.
        command = [sys.executable, "-m", "bench.training", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **TORCH_ENVIRONMENT})
    compare(arguments)


if __name__ == "__main__":
    main()
