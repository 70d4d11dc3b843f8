"""The table of chat templates, from the expectations that the tests check."""

from collections.abc import Iterator

from tests.worker.model.rendering.shipped.families import FAMILIES, Family, Support


def lines() -> Iterator[str]:
    """One row for each family."""
    yield "| family | models | system | tools | calls | several calls | reasoning | rows |"
    yield "|---|---|---|---|---|---|---|---:|"
    yield from map(_row, FAMILIES)


def _row(family: Family) -> str:
    is_native = family.tools is Support.TEMPLATE
    parallel = "one by one" if is_native and family.parallel is None else "together"
    reasoning = "learned" if family.reasoning else "left out"
    cells = (
        family.name,
        family.models,
        family.system,
        family.tools,
        family.form,
        parallel,
        reasoning,
        str(family.rows),
    )
    return f"| {' | '.join(cells)} |"
