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
    # Where the bar would end if the values were distributed as those to compare with.
    expected_y: float | None = None


def build_bars(
    values: Sequence[float], labels: Sequence[str | int], expected: Sequence[float] = ()
) -> list[Bar]:
    """Place bars side by side, the highest as high as the chart. Values without a label are the
    last ones, above all bounds of a histogram.

    `expected` are counts of another sample, which are scaled to the sum of the values.
    """
    if not values:
        return []
    count = max(len(values), len(expected))
    values = [*values, *[0] * (count - len(values))]
    scale = sum(values) / (sum(expected) or 1)
    scaled = [scale * each for each in expected]
    scaled += [0.0] * (count - len(scaled)) if scaled else []
    highest = max(*values, *scaled, 0) or 1
    slot = min(WIDTH / count, MAX_SLOT)
    padded = [*labels, *["more"] * (count - len(labels))]
    return [
        Bar(
            x=round(index * slot, 2),
            y=round(HEIGHT - HEIGHT * value / highest, 2),
            width=round(max(slot - GAP, 0.5), 2),
            height=round(HEIGHT * value / highest, 2),
            value=value,
            label=label,
            expected_y=round(HEIGHT - HEIGHT * scaled[index] / highest, 2) if scaled else None,
        )
        for index, (value, label) in enumerate(zip(values, padded, strict=False))
    ]
