"""Geometry of bar charts that are drawn as SVG by templates, without a script."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 120
GAP = 1
# A few bars are not stretched over the whole width.
MAX_SLOT = 48


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar, in the units of the chart's view box; `label` says what `value` is of."""

    x: float
    y: float
    width: float
    height: float
    value: float
    label: str | int


def build_bars(values: Sequence[float], labels: Sequence[str | int]) -> list[Bar]:
    """Place bars side by side, the highest as high as the chart. Values without a label are the
    last ones, above all bounds of a histogram."""
    if not values:
        return []
    highest = max(values) or 1
    slot = min(WIDTH / len(values), MAX_SLOT)
    padded = [*labels, *["more"] * (len(values) - len(labels))]
    return [
        Bar(
            x=round(index * slot, 2),
            y=round(HEIGHT - HEIGHT * value / highest, 2),
            width=round(max(slot - GAP, 0.5), 2),
            height=round(HEIGHT * value / highest, 2),
            value=value,
            label=label,
        )
        for index, (value, label) in enumerate(zip(values, padded, strict=False))
    ]
