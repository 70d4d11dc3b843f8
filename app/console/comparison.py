"""Comparison of jobs: rows of their numbers and metrics, with what differs and what is best."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.console.curves import name_metric, sort_names
from app.console.evaluation_report import name_metric as name_test_metric

# Endings of the names of metrics; of others, such as a norm of gradients, none is better.
LOWER_IS_BETTER = ("loss", "perplexity", "error")
HIGHER_IS_BETTER = (
    "accuracy",
    "f1",
    "precision",
    "recall",
    "exact_match",
    "margin",
    "spearman",
    "ndcg",
    "mrr",
    "bleu",
    "chrf",
)
MAX_TEST_ROWS = 60

Job = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A value of each job, in their order. `best` has the places of the best ones."""

    name: str
    values: Sequence[Any]
    best: frozenset[int] = frozenset()

    @property
    def differs(self) -> bool:
        return any(value != self.values[0] for value in self.values)


def label_jobs(jobs: Sequence[Job]) -> list[str]:
    """Label jobs by their names, and those of one name also by the end of their ids."""
    names = [job["user_provided_suffix"] or job["id"] for job in jobs]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{name} · …{job['id'][-6:]}"
        for name, job in zip(names, jobs, strict=True)
    ]


def list_inputs(jobs: Sequence[Job]) -> list[Row]:
    """List what the jobs were given, with the rows that differ first."""
    fields = {
        "Starts from": [job["model"] for job in jobs],
        "Method": [job["method"]["type"] for job in jobs],
        "Training file": [job["training_file"] for job in jobs],
        "Validation file": [job["validation_file"] for job in jobs],
        "Test file": [job["test_file"] for job in jobs],
        "seed": [job["seed"] for job in jobs],
    }
    names = sorted({name for job in jobs for name in job["hyperparameters"]})
    numbers = {name: [job["hyperparameters"].get(name) for job in jobs] for name in names}
    rows = [Row(name, values) for name, values in (fields | numbers).items()]
    return sorted(rows, key=lambda row: not row.differs)


def list_metrics(jobs: Sequence[Job], metrics: Sequence[Mapping[str, Any]]) -> list[Row]:
    """List the last value of each metric, the results of test files, and what training took."""
    names = sort_names(name for each in metrics for name in each["series"])
    rows = [
        _compare(
            name, name_metric(name), [_read_last(each["series"].get(name)) for each in metrics]
        )
        for name in names
    ]
    tests = [dict(_flatten(job["test_results"] or {})) for job in jobs]
    test_names = sorted({name for each in tests for name in each})[:MAX_TEST_ROWS]
    rows += [
        _compare(name, _name_test_metric(name), [each.get(name) for each in tests])
        for name in test_names
    ]
    rows.append(Row("Steps", [job["progress"]["step"] for job in jobs]))
    rows.append(Row("Tokens trained", [job["trained_tokens"] for job in jobs]))
    rows.append(Row("Training time in s", [job["progress"]["trained_seconds"] for job in jobs]))
    return rows


def _name_test_metric(name: str) -> str:
    model, _, metric = name.rpartition(" ")
    return " · ".join(filter(None, ("Test file", model, name_test_metric(metric))))


def _read_last(series: Mapping[str, Any] | None) -> float | None:
    return series["values"][-1] if series and series["values"] else None


def _compare(name: str, label: str, values: Sequence[Any]) -> Row:
    known = [value for value in values if value is not None]
    is_comparable = len(known) > 1 and min(known) != max(known)
    if is_comparable and name.endswith(LOWER_IS_BETTER):
        best = min(known)
    elif is_comparable and name.endswith(HIGHER_IS_BETTER):
        best = max(known)
    else:
        return Row(label, values)
    return Row(label, values, frozenset(place for place, v in enumerate(values) if v == best))


def _flatten(results: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers of nested results, by the path of their names."""
    found: list[tuple[str, float]] = []
    for name, value in results.items():
        if isinstance(value, Mapping):
            found += _flatten(value, f"{prefix}{name} ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((f"{prefix}{name}", value))
    return found
