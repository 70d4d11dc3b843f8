"""Training compared with other trainers: TRL, Unsloth, and transformers' Trainer for encoders.

    make bench-peers
    python -m bench.training --method supervised --train FILE --valid FILE [--rows 48] [--rounds 3]
    python -m bench.training --method dpo --train FILE --valid FILE --rows 32
    python -m bench.training --method classification --model all-minilm-l6-v2 --batch 32
        --epochs 3 --train FILE --valid FILE --rows 2000

All train the same rows in the same order and batches from the same adapter, with AdamW at the same
constant rate and clipping. Each turn is a process of its own: TRL's and Unsloth's in environments
of their own (requirements/bench), Trainer's in ours, and ours as a job's, with its settings. Turns
alternate, our own before each peer's: a ratio compares neighbours in time. `--arms` chooses among
the trainers and their settings (bench/training/arms.py); `--held-out` scores the adapters of the
first round on the held-out rows, in float32 by transformers, the same for all. Encoders evaluate
themselves after each epoch, within their time.

Prints JSON lines: one for each turn, one for the machine in each round, then one for each peer.
`tokens_per_second` is by the clock, of training alone, first step included; tokens are those of the
rows, without padding. `other_cores` says how many cores other programs kept busy: where that is not
near 0, and where a ratio is within its spread, nothing is shown. `percent_nominal` compares the
arithmetic that the rows need with the rate of matrix products of the model's own shapes, measured
in the same round; `percent_executed` counts tokens once that several rows of a micro-batch share.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.training.arms import ARMS
from bench.training.held_out import score_adapter
from bench.training.limit import Limit
from bench.training.tasks import Workload, make_workload
from bench.training.turns import Turn, describe_machine, run_turn

LUTHIER = "luthier"


def print_json(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    workload = make_workload(arguments, folder)
    arms = ARMS[arguments.method]
    peers = [name for name in arguments.arms or arms if name != LUTHIER]
    limit = Limit(workload) if workload.steps else None
    print_json(
        tokens=workload.num_tokens,
        steps=len(workload.steps),
        learning_rate=workload.task.learning_rate,
        **describe_machine(),
    )
    ratios: dict[str, list[float]] = {peer: [] for peer in peers}
    for number in range(1, arguments.rounds + 1):
        rate = None
        if limit is not None:
            rate, rates = limit.measure_rate()
            gflops = {shape: round(value / 1e9) for shape, value in rates.items()}
            print_json(round=number, gflops={**gflops, "mean": round(rate / 1e9)})
        for peer in peers or [None]:
            ours = take_turn(arguments, workload, LUTHIER, number, limit, rate)
            if peer is not None:
                theirs = take_turn(arguments, workload, peer, number, limit, rate)
                ratios[peer].append(theirs.seconds / ours.seconds)
    for peer, values in ratios.items():
        print_json(
            peer=peer,
            ratio=round(statistics.median(values), 2),
            spread=[round(min(values), 2), round(max(values), 2)],
        )


def take_turn(
    arguments: argparse.Namespace,
    workload: Workload,
    name: str,
    number: int,
    limit: Limit | None,
    rate: float | None,
) -> Turn:
    """Run a trainer and print its numbers."""
    out = workload.folder / "turns" / f"{time.monotonic_ns()}-{name}"
    turn = run_turn(ARMS[arguments.method][name], workload.folder, out)
    result = turn.result
    losses = result["losses"]
    fields = {
        "round": number,
        "arm": name,
        "tokens_per_second": round(workload.num_tokens / turn.seconds),
        "seconds": round(turn.seconds, 2),
        "process_seconds": round(turn.wall_seconds, 1),
        "process_cpu_seconds": round(turn.cpu_seconds, 1),
        "peak_memory_mb": turn.peak_memory_mb,
        "other_cores": round(turn.other_cores, 2),
        "losses": [round(loss, 4) for loss in [*losses[:3], *losses[-2:]]],
        "mean_loss": round(statistics.fmean(losses), 4) if losses else None,
        **result.get("held_out", {}),
        "versions": result["versions"],
    }
    if limit is not None and rate is not None:
        fields["percent_nominal"] = round(100 * limit.nominal / turn.seconds / rate)
        if name == LUTHIER:
            fields["percent_executed"] = round(100 * limit.executed / turn.seconds / rate)
    if arguments.held_out and number == 1 and (out / "adapter").exists():
        fields |= score_adapter(workload.folder, out / "adapter")
    print_json(**fields)
    return turn


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--method", choices=ARMS, default="supervised")
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--arms", nargs="*", help="peers to compare with (default: all)")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--valid-rows", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--models", type=Path, default=Path("models.toml"))
    parser.add_argument("--cache", type=Path, default=Path(".luthier/cache/models"))
    parser.add_argument("--keep", type=Path, help="folder for all files of the comparison")
    arguments = parser.parse_args()
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True)
        compare(arguments, arguments.keep.resolve())
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, Path(folder))


if __name__ == "__main__":
    main()
