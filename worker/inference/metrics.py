"""Prometheus metrics of the engine."""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.inference.engine import Engine

PREFIX = "luthier_engine_"


class EngineCollector(Collector):
    """Sums over the engines of all loaded base models."""

    def __init__(self, engines: Sequence[Engine], num_damaged_files: int) -> None:
        self._engines = engines
        self._num_damaged_files = num_damaged_files

    def collect(self) -> Iterator[Metric]:
        stats = [engine.stats for engine in self._engines]
        yield GaugeMetricFamily(
            f"{PREFIX}running_requests",
            "Requests in prefill or decoding",
            value=sum(s.running_requests for s in stats),
        )
        yield GaugeMetricFamily(
            f"{PREFIX}waiting_requests",
            "Requests waiting for a free slot",
            value=sum(engine.scheduler.num_waiting for engine in self._engines),
        )
        yield CounterMetricFamily(
            f"{PREFIX}prompt_tokens",
            "Prompt tokens computed",
            value=sum(s.prompt_tokens for s in stats),
        )
        yield CounterMetricFamily(
            f"{PREFIX}cached_prompt_tokens",
            "Prompt tokens whose keys and values were kept from an earlier prompt",
            value=sum(s.cached_prompt_tokens for s in stats),
        )
        yield CounterMetricFamily(
            f"{PREFIX}generated_tokens",
            "Tokens generated",
            value=sum(s.generated_tokens for s in stats),
        )
        yield CounterMetricFamily(
            f"{PREFIX}failed_requests",
            "Requests that ended with an engine error",
            value=sum(s.failed_requests for s in stats),
        )
        yield CounterMetricFamily(
            f"{PREFIX}damaged_files",
            "Files of adapters found damaged on disk or in storage; the log names them",
            value=self._num_damaged_files,
        )


def render(engines: Sequence[Engine], num_damaged_files: int = 0) -> bytes:
    """Render the metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(EngineCollector(engines, num_damaged_files))
    return generate_latest(registry)
