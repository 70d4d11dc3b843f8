"""Successive halving: of many trials trained shortly, the better third is trained three times as
long, and so on, until the best one has had all epochs.

Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS; the rate of elimination is that of Li et al. 2018, "Hyperband: A Novel Bandit-Based
Approach to Hyperparameter Optimization", JMLR 18.

A survivor is trained again from the start. To continue the shorter job would not be the training
that an ordinary job of so many epochs does: its learning rate follows a schedule over all steps and
has ended. So each rung costs about as many epochs as the first, instead of two thirds of that, and
each of its trials is a job whose model can be used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

# η of the papers, which recommend 3 or 4.
ELIMINATION_RATE = 3


@dataclass(frozen=True, slots=True)
class Rung:
    """Trials of one round, and the epochs that each of them is trained."""

    trials: int
    n_epochs: int


def plan_rungs(*, max_jobs: int, n_epochs: int, combinations: int) -> list[Rung]:
    """Plan the rungs whose last one trains `n_epochs`, with as many trials as there may be.

    Each rung divides both the trials and the epochs of the next by the rate. The last rung has at
    least one trial; if the first would have too few for that, there are fewer rungs.
    """
    epochs = [n_epochs]
    while epochs[0] >= ELIMINATION_RATE:
        epochs.insert(0, epochs[0] // ELIMINATION_RATE)
    while len(epochs) > 1 and not _has_enough(len(epochs), max_jobs, combinations):
        epochs.pop(0)
    first = max(
        n
        for n in range(1, min(max_jobs, combinations) + 1)
        if _count_trials(n, len(epochs)) <= max_jobs
    )
    return [Rung(first // ELIMINATION_RATE**number, each) for number, each in enumerate(epochs)]


def count_survivors(rungs: Sequence[Rung], rung: int, finished: int) -> int:
    """Count the trials of the next rung: those planned, or fewer if too few have finished."""
    return min(rungs[rung + 1].trials, finished) if rung + 1 < len(rungs) else 0


def _has_enough(rungs: int, max_jobs: int, combinations: int) -> bool:
    smallest_first = ELIMINATION_RATE ** (rungs - 1)
    return smallest_first <= combinations and _count_trials(smallest_first, rungs) <= max_jobs


def _count_trials(first: int, rungs: int) -> int:
    return sum(first // ELIMINATION_RATE**number for number in range(rungs))
