"""The Prometheus series of the API and of the engine, from the code that exports them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from unittest.mock import MagicMock

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.http import metrics as http_metrics
from app.inference import metrics as inference_metrics
from app.monitoring.prometheus import TrafficCounters
from app.operations.disk_space import DiskSpace
from app.operations.metrics import DiskCollector, ServiceCollector
from scripts.reference.markdown import code, table
from worker.inference import metrics as engine_metrics


@dataclass(frozen=True, slots=True)
class Series:
    """A series that a process exports. `name` is without the suffixes of a histogram's samples."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


def lines() -> Iterator[str]:
    """One row per series of the API: name, type, labels and help text."""
    yield from _table(api_series())


def engine_lines() -> Iterator[str]:
    """One row per series of the engine."""
    yield from _table(engine_series())


def api_series() -> Iterator[Series]:
    # The families do not depend on the data, and a mock reads like an empty database.
    yield from _families(ServiceCollector(MagicMock(), heartbeat_seconds=1.0))
    yield from _families(DiskCollector(DiskSpace({})))
    yield from _families(TrafficCounters().build_collector("luthier"))
    yield from _instruments(http_metrics.REGISTRY)
    yield from _instruments(inference_metrics.REGISTRY)


def engine_series() -> Iterator[Series]:
    yield from _families(engine_metrics.EngineCollector({}))
    yield from _instruments(engine_metrics.REGISTRY)


def _families(collector: Collector) -> Iterator[Series]:
    for family in collector.collect():
        labels = tuple(getattr(family, "_labelnames", ()))
        yield Series(_full_name(family), family.type, labels, family.documentation)


def _instruments(registry: CollectorRegistry) -> Iterator[Series]:
    """Describe the instruments of a registry, whose families name no labels without samples."""
    for collector in registry._collector_to_names:
        assert isinstance(collector, MetricWrapperBase)
        [family] = collector.describe()
        labels = tuple(collector._labelnames)
        yield Series(_full_name(family), family.type, labels, family.documentation)


def _full_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _table(series: Iterable[Series]) -> Iterator[str]:
    rows = ([code(s.name), s.type, ", ".join(map(code, s.labels)), s.help] for s in series)
    yield from table(["Series", "Type", "Labels", "Help"], rows)
