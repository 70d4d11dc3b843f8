"""The Grafana dashboard shows only series that the API and the engine export."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.reference.metrics import Series, api_series, engine_series

ROOT = Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "deploy/grafana"
SAMPLE = re.compile(r"\bluthier_\w+")
LABELS = re.compile(r"\bby \(([^)]*)\)|(\w+)\s*(?:=~|!~|=|!=)\s*\"")
# A label that every histogram has, and those that Prometheus adds.
OWN_LABELS = {"le", "job", "instance"}


def list_panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads((GRAFANA / "luthier.json").read_text())["panels"]
    return panels


def list_expressions() -> Iterator[str]:
    for panel in list_panels():
        yield from (target["expr"] for target in panel.get("targets", []))


def exported() -> dict[str, Series]:
    """Series by the names of their samples."""
    samples = {}
    for series in (*api_series(), *engine_series()):
        if series.type == "histogram":
            samples |= {f"{series.name}_{part}": series for part in ("bucket", "count", "sum")}
        else:
            samples[series.name] = series
    return samples


@pytest.mark.parametrize("expression", [*list_expressions()])
def test_its_series_and_labels_exist(expression: str) -> None:
    known = exported()
    names = SAMPLE.findall(expression)
    assert names
    assert [name for name in names if name not in known] == []
    used = {
        label.strip()
        for group, matched in LABELS.findall(expression)
        for label in (group or matched).split(",")
    }
    assert used <= OWN_LABELS.union(*(known[name].labels for name in names))


def test_a_percentile_is_computed_from_buckets() -> None:
    for expression in list_expressions():
        is_percentile = expression.startswith("histogram_quantile(")
        assert is_percentile == ("_bucket[" in expression)


def test_every_series_of_the_engine_is_shown() -> None:
    shown = {exported()[name].name for e in list_expressions() for name in SAMPLE.findall(e)}
    assert {series.name for series in engine_series()} <= shown


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in list_panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in list_panels()}) == len(list_panels())


def test_the_provisioning_names_a_folder() -> None:
    path = GRAFANA / "provisioning/dashboards/luthier.yaml"
    [provider] = yaml.safe_load(path.read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"].startswith("/var/lib/grafana/")
