"""The table of neighbours: `python -m bench.neighbours [--pool NAME …] [--samples N] [--rounds N]`.

For each shared pool one project misbehaves as hard as its limits allow, and the latency of another
project's small request, or the time between the tokens of its stream, is measured without it and
beside it, in turn, on a service started for this. Prints one line for each pool: the P95 of both,
their ratio, and the ratio of each round.
"""

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain

import httpx

from bench.neighbours.attacks import ATTACKS
from bench.neighbours.probes import PROBES, Intervals, Probe, WebhookProbe, webhook_receiver
from bench.stack import Stack, run_stack

# An attack has its full effect after its first requests have been admitted.
WARM_UP_SECONDS = 4.0
# The trainers first make up for what the well-behaved project has had of them in its quiet rounds.
TRAINERS_WARM_UP_SECONDS = 45.0
PAUSE_SECONDS = 0.05
# A time slice this short lets one measurement of the trainers take seconds.
VARIABLES = {
    "LUTHIER_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1",
    "LUTHIER_TRAINER_TIME_SLICE_SECONDS": "5",
}
# A sample of these takes seconds.
SLOW_POOLS = {"trainers": 3, "io tasks": 10, "webhook threads": 10}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", action="append", choices=list(ATTACKS), help="only this pool")
    parser.add_argument("--samples", type=int, default=20, help="requests for each round and side")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    with ExitStack() as exits:
        stack = exits.enter_context(run_stack(**VARIABLES))
        attacker, quiet = stack.make_project("attacker"), stack.make_project("neighbour")
        headers = {"Authorization": f"Bearer {quiet}"}
        client = exits.enter_context(httpx.Client(base_url=stack.url, headers=headers, timeout=300))
        port, arrived = exits.enter_context(webhook_receiver())
        webhook = WebhookProbe(client, port, arrived)
        probes: dict[str, Probe] = {**PROBES, "webhook threads": webhook}
        print("| Pool | Quiet P95, ms | P95 beside the attacker, ms | Ratio | Of each round |")
        print("| --- | --- | --- | --- | --- |")
        for pool in arguments.pool or ATTACKS:
            samples = min(SLOW_POOLS.get(pool, arguments.samples), arguments.samples)
            measure(stack, attacker, client, pool, probes, samples, arguments.rounds)


def measure(
    stack: Stack,
    attacker: str,
    client: httpx.Client,
    pool: str,
    probes: Mapping[str, Probe],
    samples: int,
    rounds: int,
) -> None:
    """Measure one pool, and print its line."""
    quiet: list[list[float]] = []
    beside: list[list[float]] = []
    probe = probes[pool]
    probe(client)
    for _ in range(rounds):
        quiet.append(take_samples(client, probe, samples))
        with run_attack(stack, attacker, pool):
            time.sleep(TRAINERS_WARM_UP_SECONDS if pool == "trainers" else WARM_UP_SECONDS)
            beside.append(take_samples(client, probe, samples))
        cancel_jobs(stack, attacker)
    before, after = p95(list(chain(*quiet))), p95(list(chain(*beside)))
    ratios = ", ".join(f"{p95(b) / p95(a):.1f}" for a, b in zip(quiet, beside, strict=True))
    print(
        f"| {pool} | {before * 1e3:.0f} | {after * 1e3:.0f} | {after / before:.1f} | {ratios} |",
        flush=True,
    )


def take_samples(client: httpx.Client, probe: Probe, count: int) -> list[float]:
    """The latencies of `count` requests, one after the other, in seconds."""
    latencies: list[float] = []
    for _ in range(count):
        started = time.perf_counter()
        measured = probe(client)
        duration = time.perf_counter() - started
        latencies += measured if isinstance(measured, Intervals) else [duration]
        time.sleep(PAUSE_SECONDS)
    return latencies


@contextmanager
def run_attack(stack: Stack, key: str, pool: str) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.neighbours.attacks", pool, stack.url, key]
    process = subprocess.Popen(command)
    try:
        yield
        if process.poll() is not None:
            raise SystemExit(f"the attack on {pool} ended by itself")
    finally:
        process.kill()
        process.wait()


def cancel_jobs(stack: Stack, key: str) -> None:
    """Cancel what an attack has left running or queued."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as client:
        for job in client.get("/v1/fine_tuning/jobs", params={"limit": 100}).json()["data"]:
            if job["status"] in ("validating_files", "queued", "running"):
                client.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel")


def p95(values: list[float]) -> float:
    """The 95th percentile by nearest rank."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


if __name__ == "__main__":
    main()
