"""Geometry of sparklines: small curves without axes, drawn as SVG by templates."""

from collections.abc import Sequence

WIDTH, HEIGHT = 200, 40
MARGIN = 2


def build_sparkline(values: Sequence[float]) -> str:
    """The points of a polyline through the values; empty for fewer than two."""
    finite = [value for value in values if abs(value) < float("inf")]
    if len(finite) < 2:
        return ""
    lowest, highest = min(finite), max(finite)
    scale = (HEIGHT - 2 * MARGIN) / ((highest - lowest) or 1)
    step = WIDTH / (len(finite) - 1)
    return " ".join(
        f"{index * step:.1f},{MARGIN + (highest - value) * scale:.1f}"
        for index, value in enumerate(finite)
    )
