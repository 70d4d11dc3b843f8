"""Prometheus metrics of the engine: of its process, and of each base model.

Names are vLLM's where it has one. The label `model` is a base model, so that there are as many
series as models in the catalog, however many adapters are served.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX = "luthier_engine_"
# From a few tokens of a small model to minutes in the queue of a busy one.
WAITING_SECONDS_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0),
)
INTERVAL_SECONDS_BUCKETS = (
    *(0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15),
    *(0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0),
)
LOAD_SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 128, 256)

# Of this process. Observing takes about 3 µs and a lock that only a scrape contends for.
REGISTRY = CollectorRegistry()


class AdapterCacheKind(StrEnum):
    """A place where adapters are kept; a miss loads from the next: disk, then storage."""

    MEMORY = "memory"
    DISK = "disk"


class AdapterSource(StrEnum):
    """Source of an adapter that is loaded: storage to disk, or disk to memory."""

    STORAGE = "storage"
    DISK = "disk"


class AdapterLoadFailure(StrEnum):
    """Reason why an adapter could not be loaded."""

    DAMAGED = "damaged"
    MISSING = "missing"
    INVALID = "invalid"
    STORAGE_UNAVAILABLE = "storage_unavailable"


QUEUE_TIME = Histogram(
    f"{PREFIX}request_queue_time_seconds",
    "Seconds that a request waited before its prompt was begun",
    ["model"],
    buckets=WAITING_SECONDS_BUCKETS,
    registry=REGISTRY,
)
TIME_TO_FIRST_TOKEN = Histogram(
    f"{PREFIX}time_to_first_token_seconds",
    "Seconds from a request's arrival at the engine to its first token",
    ["model"],
    buckets=WAITING_SECONDS_BUCKETS,
    registry=REGISTRY,
)
INTER_TOKEN_LATENCY = Histogram(
    f"{PREFIX}inter_token_latency_seconds",
    "Seconds between two tokens of an answer",
    ["model"],
    buckets=INTERVAL_SECONDS_BUCKETS,
    registry=REGISTRY,
)
BATCH_SIZE = Histogram(
    f"{PREFIX}batch_size",
    "Answers that got a token in one step",
    ["model"],
    buckets=BATCH_SIZE_BUCKETS,
    registry=REGISTRY,
)
ADAPTER_LOOKUPS = Counter(
    f"{PREFIX}adapter_lookups",
    "Adapters looked up in a cache, by result: hit or miss",
    ["cache", "result"],
    registry=REGISTRY,
)
ADAPTER_LOAD_TIME = Histogram(
    f"{PREFIX}adapter_load_seconds",
    "Seconds to load and verify an adapter, from storage to disk and from disk to memory",
    ["source"],
    buckets=LOAD_SECONDS_BUCKETS,
    registry=REGISTRY,
)
ADAPTER_LOAD_FAILURES = Counter(
    f"{PREFIX}adapter_load_failures",
    "Adapters that could not be loaded, by reason",
    ["reason"],
    registry=REGISTRY,
)
ADAPTERS_IN_MEMORY = Gauge(
    f"{PREFIX}adapters_in_memory", "Adapters whose weights are in memory", registry=REGISTRY
)
ADAPTER_MEMORY = Gauge(
    f"{PREFIX}adapter_memory_bytes", "Memory that the weights of adapters take", registry=REGISTRY
)
DAMAGED_FILES = Counter(
    f"{PREFIX}damaged_files",
    "Files of adapters found damaged on disk or in storage; the log names them",
    registry=REGISTRY,
)
# Every series is there from the start: a rate needs the zero before the first event.
for cache in AdapterCacheKind:
    for result in ("hit", "miss"):
        ADAPTER_LOOKUPS.labels(cache, result)
for source in AdapterSource:
    ADAPTER_LOAD_TIME.labels(source)
for reason in AdapterLoadFailure:
    ADAPTER_LOAD_FAILURES.labels(reason)


def count_lookup(cache: AdapterCacheKind, *, is_hit: bool) -> None:
    ADAPTER_LOOKUPS.labels(cache, "hit" if is_hit else "miss").inc()


@contextmanager
def time_load(source: AdapterSource) -> Iterator[None]:
    """Time a load that succeeds."""
    started_at = time.monotonic()
    yield
    ADAPTER_LOAD_TIME.labels(source).observe(time.monotonic() - started_at)


class LatencyMetrics:
    """The histograms of one base model. Its methods are called by the engine thread."""

    def __init__(self, model: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._queue_time = QUEUE_TIME.labels(model)
        self._time_to_first_token = TIME_TO_FIRST_TOKEN.labels(model)
        self._inter_token_latency = INTER_TOKEN_LATENCY.labels(model)
        self._batch_size = BATCH_SIZE.labels(model)

    def prompt_begun(self, submitted_at: float) -> None:
        self._queue_time.observe(self.clock() - submitted_at)

    def step_decoded(self, rows: int) -> None:
        self._batch_size.observe(rows)

    def first_token(self, submitted_at: float, now: float) -> None:
        self._time_to_first_token.observe(now - submitted_at)

    def next_token(self, previous_at: float, now: float) -> None:
        self._inter_token_latency.observe(now - previous_at)


@dataclass(slots=True)
class EngineStats:
    """Totals since the start, and the current load. Written by the engine thread only."""

    running_requests: int = 0
    waiting_requests: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    generated_tokens: int = 0
    draft_tokens: int = 0
    accepted_draft_tokens: int = 0
    failed_requests: int = 0
    kv_tokens: int = 0
    kv_capacity_tokens: int = 0


@dataclass(frozen=True, slots=True)
class _Series:
    """A series read from a field of EngineStats."""

    field: str
    family: type[GaugeMetricFamily] | type[CounterMetricFamily]
    help: str


SERIES = (
    _Series("running_requests", GaugeMetricFamily, "Requests in prefill or decoding"),
    _Series("waiting_requests", GaugeMetricFamily, "Requests waiting for a free slot"),
    _Series("kv_tokens", GaugeMetricFamily, "Tokens of running requests in the KV cache"),
    _Series(
        "kv_capacity_tokens", GaugeMetricFamily, "Tokens that running requests may hold together"
    ),
    _Series("prompt_tokens", CounterMetricFamily, "Prompt tokens computed"),
    _Series(
        "cached_prompt_tokens",
        CounterMetricFamily,
        "Prompt tokens whose keys and values were kept from an earlier prompt",
    ),
    _Series("generated_tokens", CounterMetricFamily, "Tokens generated"),
    _Series("draft_tokens", CounterMetricFamily, "Tokens drafted by prompt lookup"),
    _Series("accepted_draft_tokens", CounterMetricFamily, "Drafted tokens that were those sampled"),
    _Series(
        "failed_requests", CounterMetricFamily, "Requests that ended with an error of the engine"
    ),
)


class EngineCollector(Collector):
    """The stats of the loaded base models, by the models' ids."""

    def __init__(self, stats: Mapping[str, EngineStats]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        for series in SERIES:
            family = series.family(f"{PREFIX}{series.field}", series.help, labels=["model"])
            for model, stats in self._stats.items():
                family.add_metric([model], getattr(stats, series.field))
            yield family


def render(stats: Mapping[str, EngineStats]) -> bytes:
    """Render the metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(EngineCollector(stats))
    return generate_latest(registry) + generate_latest(REGISTRY)
