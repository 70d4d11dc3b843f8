"""The Prometheus series of `GET /metrics`, from the collectors that export them."""

from collections.abc import Iterator
from unittest.mock import MagicMock

from prometheus_client.registry import Collector

from app.monitoring.prometheus import TrafficCounters
from app.operations.disk_space import DiskSpace
from app.operations.metrics import DiskCollector, ServiceCollector
from scripts.reference.markdown import code, table


def lines() -> Iterator[str]:
    """One row per series: name, type, labels and help text."""
    rows = (
        [
            code(f"{family.name}_total" if family.type == "counter" else family.name),
            family.type,
            ", ".join(map(code, getattr(family, "_labelnames", ()))),
            family.documentation,
        ]
        for collector in _collectors()
        for family in collector.collect()
    )
    yield from table(["Series", "Type", "Labels", "Help"], rows)


def _collectors() -> Iterator[Collector]:
    # The families do not depend on the data, and a mock reads like an empty database.
    yield ServiceCollector(MagicMock(), heartbeat_seconds=1.0)
    yield DiskCollector(DiskSpace({}))
    yield TrafficCounters().build_collector("luthier")
