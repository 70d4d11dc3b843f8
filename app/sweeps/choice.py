"""Choice of the best trial, and a sentence that says why it is."""

from collections import Counter
from collections.abc import Sequence

from app.db.tables import SweepTrial, TrialState
from app.sweeps import metrics

UNFINISHED = (TrialState.PENDING, TrialState.RUNNING)


def rank(trials: Sequence[SweepTrial], metric: str) -> list[SweepTrial]:
    """List the trials that have the metric, best first; of equal ones the first tried."""
    measured = [t for t in trials if t.state == TrialState.SUCCEEDED and t.value is not None]
    sign = 1 if metrics.is_minimized(metric) else -1
    return sorted(measured, key=lambda trial: (sign * (trial.value or 0.0), trial.index))


def find_best(trials: Sequence[SweepTrial], metric: str) -> SweepTrial | None:
    return next(iter(rank(trials, metric)), None)


def explain(trials: Sequence[SweepTrial], metric: str) -> str | None:
    """Say why the best trial is the best; None if no trial has the metric."""
    ranked = rank(trials, metric)
    if not ranked:
        return None
    best = ranked[0]
    equal = [trial.index for trial in ranked[1:] if trial.value == best.value]
    word = "lowest" if metrics.is_minimized(metric) else "highest"
    of_all = f"{word} of {len(ranked)} finished trials" if ranked[1:] else "the only finished trial"
    parts = [f"{metric} {best.value:.6g}, {of_all}"]
    if equal:
        parts.append(f"as good as {_list_trials(equal)}, and tried first")
    others = describe_others(trials)
    return "; ".join([*parts, others] if others else parts)


def describe_others(trials: Sequence[SweepTrial]) -> str:
    """Count the trials without the metric: `1 failed, 2 unfinished`; empty if all have it."""
    counts = Counter(_describe(trial) for trial in trials if not _is_measured(trial))
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _is_measured(trial: SweepTrial) -> bool:
    return trial.state == TrialState.SUCCEEDED and trial.value is not None


def _describe(trial: SweepTrial) -> str:
    if trial.state in UNFINISHED:
        return "unfinished"
    return "without the metric" if trial.state == TrialState.SUCCEEDED else str(trial.state)


def _list_trials(indexes: Sequence[int]) -> str:
    return f"trial{'s' if indexes[1:] else ''} {', '.join(map(str, indexes))}"
