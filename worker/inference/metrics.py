"""The engine's numbers in Prometheus' text format."""

from collections.abc import Sequence

from worker.inference.engine import Engine

CONTENT_TYPE = "text/plain; version=0.0.4"
PREFIX = "luthier_engine_"


def render(engines: Sequence[Engine]) -> str:
    """Sums over all base models."""
    counters = [engine.counters for engine in engines]
    waiting = sum(len(engine.scheduler.waiting) for engine in engines)
    samples = (
        ("running_requests", "gauge", sum(c.running_requests for c in counters)),
        ("waiting_requests", "gauge", waiting),
        ("prompt_tokens_total", "counter", sum(c.prompt_tokens for c in counters)),
        ("generated_tokens_total", "counter", sum(c.generated_tokens for c in counters)),
        ("failed_requests_total", "counter", sum(c.failed_requests for c in counters)),
    )
    lines = [f"# TYPE {PREFIX}{name} {kind}\n{PREFIX}{name} {n}\n" for name, kind, n in samples]
    return "".join(lines)
