"""Space of a sweep's hyperparameters: checked by the job's own rules, enumerated or drawn from.

Draws are independent and uniform (random search: Bergstra & Bengio 2012, "Random Search for
Hyper-Parameter Optimization"), and a function of the seed.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, get_args

from pydantic import ValidationError

from app.errors import InvalidRequest
from app.formats.errors import escape_for_message
from app.jobs.hyperparameters import get_hyperparameters_class, validate_known
from app.jobs.schemas import CreateJob
from app.jobs.unknown_fields import explain_hyperparameter
from app.sweeps.schemas import ValueSpace
from app.wire.validation_errors import to_invalid_request

AUTO = "auto"
# A small space has fewer combinations than are wanted; far more draws than those it takes to find
# each of MAX_JOBS combinations.
MAX_DRAWS = 2000
SIGNIFICANT_DIGITS = 6

Combination = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ListedValues:
    """Values that were listed."""

    values: Sequence[Any]

    def draw(self, random: Random) -> Any:
        # Of Random's methods only random() has the same results in all versions of Python.
        return self.values[int(random.random() * len(self.values))]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two bounds, both included; draws are uniform or log-uniform."""

    low: float
    high: float
    is_log: bool
    is_whole: bool

    def draw(self, random: Random) -> float | int:
        # A whole number stands for the interval that is rounded to it.
        margin = 0.5 if self.is_whole else 0.0
        low, high, share = self.low - margin, self.high + margin, random.random()
        if self.is_log:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        drawn = round(value) if self.is_whole else float(f"{value:.{SIGNIFICANT_DIGITS}g}")
        return min(max(drawn, self.low), self.high)


Axis = ListedValues | Range


def check_space(job: CreateJob, space: Mapping[str, ValueSpace]) -> dict[str, Axis]:
    """Check names and values by the rules of the job's method. Raises InvalidRequest."""
    return {name: _check_axis(job, name, values) for name, values in space.items()}


def list_combinations(axes: Mapping[str, Axis]) -> Iterator[Combination]:
    """Iterate over the grid; the last hyperparameter varies fastest."""
    lists = [axis.values for axis in axes.values() if isinstance(axis, ListedValues)]
    return (dict(zip(axes, values, strict=True)) for values in itertools.product(*lists))


def draw_combinations(axes: Mapping[str, Axis], count: int, seed: int) -> list[Combination]:
    """Draw different combinations; fewer than `count` if the space has no more."""
    random = Random(seed)
    drawn: list[Combination] = []
    for _ in range(MAX_DRAWS):
        combination = {name: axis.draw(random) for name, axis in axes.items()}
        if combination not in drawn:
            drawn.append(combination)
        if len(drawn) == count:
            break
    return drawn


def build_param(name: str, values: ValueSpace, value: object) -> str:
    """Build the path in the request of a value of the space, for an error's `param`."""
    path = f"space.{escape_for_message(name)}"
    listed = values.values or []
    return f"{path}.values[{listed.index(value)}]" if value in listed else path


def _check_axis(job: CreateJob, name: str, values: ValueSpace) -> Axis:
    schema = get_hyperparameters_class(job.method)
    path = f"space.{escape_for_message(name)}"
    if name not in schema.model_fields:
        reason = explain_hyperparameter(name, job)
        raise InvalidRequest(
            f"Unknown parameter: '{path}'. {reason}".strip(), param=path, code="unknown_parameter"
        )
    if (job.merge_hyperparameters().get(name, AUTO)) != AUTO:
        raise _build_error(path, "the job sets it too, and the sweep would override that. Omit one")
    if values.values is not None:
        return _check_list(job, name, values.values)
    return _check_range(job, name, path, values)


def _check_list(job: CreateJob, name: str, values: Sequence[Any]) -> ListedValues:
    checked = [
        _check_value(job, name, value, ("values", number)) for number, value in enumerate(values)
    ]
    for number, value in enumerate(checked):
        if values[number] is None:
            raise _build_error(f"space.{name}.values[{number}]", "expected a value, got null")
        first = checked.index(value)
        if first < number and type(checked[first]) is type(value):
            raise _build_error(f"space.{name}.values[{number}]", f"it repeats values[{first}]")
    return ListedValues(checked)


def _check_range(job: CreateJob, name: str, path: str, values: ValueSpace) -> Range:
    kinds = get_args(get_hyperparameters_class(job.method).model_fields[name].annotation)
    if int not in kinds and float not in kinds:
        raise _build_error(path, 'only numbers have a range. List its values: {"values": […]}')
    low, high = (_check_value(job, name, getattr(values, end), (end,)) for end in ("min", "max"))
    if low >= high:
        raise _build_error(f"{path}.max", "expected a number above min")
    if values.scale == "log" and low <= 0:
        raise _build_error(f"{path}.min", "a logarithmic scale starts above 0")
    return Range(low, high, is_log=values.scale == "log", is_whole=int in kinds)


def _check_value(job: CreateJob, name: str, value: Any, place: tuple[str | int, ...]) -> Any:
    try:
        checked = validate_known(job.method, {name: value})
    except ValidationError as error:
        found = [{**each, "loc": ("space", name, *place)} for each in error.errors()]
        raise to_invalid_request(found) from error
    return getattr(checked, name)


def _build_error(path: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{path}': {reason}.", param=path, code="invalid_value")
