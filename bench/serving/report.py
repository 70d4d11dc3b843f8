"""Figures of a cell, and the ratios of peers round by round."""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.serving.traffic import Timing


@dataclass(frozen=True, slots=True)
class Measurement:
    """One peer in one cell of one round. Rates are of output tokens; times are milliseconds."""

    tokens_per_second: float
    tokens_per_cpu_second: float
    ttft_p50: float
    ttft_p95: float
    itl_p50: float
    itl_p95: float
    resident_mb: float
    load_average: float

    @classmethod
    def of(cls, timings: Sequence[Timing], cpu_seconds: float, resident_mb: float) -> "Measurement":
        began = min(timing.sent_at for timing in timings)
        seconds = max(timing.token_at[-1] for timing in timings) - began
        tokens = sum(timing.num_tokens for timing in timings)
        firsts = [timing.first_seconds for timing in timings]
        intervals = [interval for timing in timings for interval in timing.intervals]
        return cls(
            round(tokens / seconds, 1),
            round(tokens / max(cpu_seconds, 1e-3), 1),
            _ms(firsts, 50),
            _ms(firsts, 95),
            _ms(intervals, 50),
            _ms(intervals, 95),
            round(resident_mb),
            round(os.getloadavg()[0], 1),
        )


def _ms(seconds: Sequence[float], percent: int) -> float:
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 1)


# Of one cell, by peer, in the order of the rounds.
Rounds = Mapping[str, Sequence[Measurement]]


def summarize(rounds: Rounds) -> dict[str, dict[str, str]]:
    """Median of each figure by peer, with all values in parentheses where there are several."""
    return {
        peer: {
            name: _median_of([asdict(m)[name] for m in measurements])
            for name in Measurement.__slots__
        }
        for peer, measurements in rounds.items()
        if measurements
    }


def compare(rounds: Rounds, ours: str) -> dict[str, str]:
    """Compute the ratio of tokens per second to each peer's: median (minimum to maximum)."""
    ratios = {}
    for peer, measurements in rounds.items():
        pairs = list(zip(rounds.get(ours, ()), measurements, strict=False))
        if peer != ours and pairs:
            values = [a.tokens_per_second / b.tokens_per_second for a, b in pairs]
            spread = f"{min(values):.2f} to {max(values):.2f}"
            ratios[peer] = f"{statistics.median(values):.2f} ({spread})"
    return ratios


def table(cell: str, rounds: Rounds, ours: str) -> str:
    """One row of Markdown per peer."""
    ratios = compare(rounds, ours)
    lines = [
        f"| {cell} | tokens/s | per CPU second | TTFT p50 / p95, ms | ITL p50 / p95, ms | RSS, MB "
        f"| {ours} is faster by |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for peer, row in summarize(rounds).items():
        lines.append(
            f"| {peer} | {row['tokens_per_second']} | {row['tokens_per_cpu_second']} "
            f"| {row['ttft_p50']} / {row['ttft_p95']} | {row['itl_p50']} / {row['itl_p95']} "
            f"| {row['resident_mb']} | {ratios.get(peer, '')} |"
        )
    return "\n".join(lines)


def _median_of(values: Sequence[float]) -> str:
    median = f"{statistics.median(values):g}"
    rest = ", ".join(f"{value:g}" for value in values)
    return median if len(values) == 1 else f"{median} ({rest})"
