"""Charts of jobs' metrics: which curves belong together, and the words for them.

A page's script draws them. The data of charts is `{"charts": [...], "marks": [...]}`, where a chart
has an `id`, a `title` and `series` of a `name`, a `label`, `steps` and `values`; a mark is a step
with a `label`. An update has the points after `after_step` only, which replace those of the page.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.console.texts import name_end

# Longest first: `full_valid_loss` is of the whole validation file, `valid_loss` of a sample of it.
SPLITS = {
    "full_valid_": "Validation, whole file",
    "valid_": "Validation, one batch",
    "train_": "Training",
}
FAMILY_WORDS = {
    "loss": "Loss",
    "mean_token_accuracy": "Token accuracy",
    "f1": "F1",
    "exact_match": "Exact match",
}
# Ends of attempts that end their job too.
ENDS_OF_JOBS = ("succeeded", "cancelled", "failed")
# Families that come first, in this order; the others follow by name.
FIRST_FAMILIES = ("loss", "accuracy", "f1", "mean_token_accuracy")
SPLIT_ORDER = ("train_", "valid_", "full_valid_", "")

# Of longer jobs a page shows at once what is quick to read, and its script reads the curves.
MAX_EMBEDDED_STEPS = 5000

Data = dict[str, Any]


def build_empty() -> Data:
    """Build the data of a page whose script reads the curves."""
    return {"charts": [], "marks": []}


def build_job_charts(
    metrics: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]], after_step: int = 0
) -> Data:
    """Build the charts of one job from the API's answers: one for each family of metrics.

    `attempts` are the newest ones, newest first: where one ended before the job did is a mark.
    """
    families: dict[str, list[Data]] = {}
    for name in sort_names(metrics["series"]):
        split, family = split_name(name)
        label = SPLITS.get(split) or name_family(family)
        points = metrics["series"][name]
        families.setdefault(family, []).append({"name": name, "label": label, **points})
    charts = [
        {"id": family, "title": name_family(family), "series": series}
        for family, series in families.items()
    ]
    return {
        "charts": charts,
        "marks": _find_marks(attempts),
        "attempt": metrics["attempt"],
        "after_step": after_step,
        "last_step": metrics["last_step"],
    }


def build_comparison_charts(labels: Sequence[str], metrics: Sequence[Mapping[str, Any]]) -> Data:
    """Build the charts of several jobs: one for each metric, in which each job has a curve."""
    names = sort_names(name for each in metrics for name in each["series"])
    charts = [
        {
            "id": name,
            "title": name_metric(name),
            "series": [
                {"name": name, "label": label, "color": number, **each["series"][name]}
                for number, (label, each) in enumerate(zip(labels, metrics, strict=True))
                if name in each["series"]
            ],
        }
        for name in names
    ]
    return {"charts": charts, "marks": []}


def sort_names(names: Iterable[str]) -> list[str]:
    """Sort metrics without repeats: losses first, training before validation."""
    return sorted(set(names), key=_sort_key)


def _find_marks(attempts: Sequence[Mapping[str, Any]]) -> list[Data]:
    """Find the steps at which the job was killed or paused, and where it went on."""
    marks: list[Data] = []
    later = None
    for attempt in attempts:
        reason = attempt["end_reason"]
        if reason is not None and reason not in ENDS_OF_JOBS and attempt["reached_step"]:
            label = name_end(reason)
            if later is not None and later["resumed_step"] is not None:
                label += f", went on from step {later['resumed_step']:,}"
            marks.append({"step": attempt["reached_step"], "label": label})
        later = attempt
    return marks[::-1]


def split_name(name: str) -> tuple[str, str]:
    """Split a metric's name into the prefix of its data, or "", and its family."""
    for prefix in SPLITS:
        if name.startswith(prefix):
            return prefix, name.removeprefix(prefix)
    return "", name


def name_family(family: str) -> str:
    return FAMILY_WORDS.get(family) or family.replace("_", " ").capitalize()


def name_metric(name: str) -> str:
    """The words for a metric: `valid_loss` is "Loss · Validation"."""
    split, family = split_name(name)
    return f"{name_family(family)} · {SPLITS[split]}" if split else name_family(family)


def _sort_key(name: str) -> tuple[int, str, int]:
    split, family = split_name(name)
    is_first = family in FIRST_FAMILIES
    rank = FIRST_FAMILIES.index(family) if is_first else len(FIRST_FAMILIES)
    return rank, family, SPLIT_ORDER.index(split)
