"""Metrics of the engine: what they count, and that the documentation lists them."""

from pathlib import Path

import pytest

from app.errors import ModelDamaged, NotFound
from app.storage import LocalStore
from tests.worker.inference.test_adapter_cache import PREFIX, flip_a_bit, store_adapter
from tests.worker.inference.test_engine import VOCAB_SIZE, RecordedRequest, run_until_idle
from worker.inference import metrics
from worker.inference.adapter_cache import AdapterDiskCache
from worker.inference.adapter_memory import AdapterFiles, AdapterMemoryCache
from worker.inference.engine import Engine
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.loading import map_adapter_errors


def sample(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"luthier_engine_{name}", labels) or 0


class TestLatency:
    def test_tokens_and_steps_are_observed(self, decoder: LlamaDecoder) -> None:
        engine = Engine(decoder, vocab_size=VOCAB_SIZE, model="timed")
        requests = [
            RecordedRequest([5, 6, index + 7], max_new_tokens=4, stop_ids=frozenset())
            for index in range(2)
        ]
        run_until_idle(engine, *requests)
        counts = {
            name: sample(f"{name}_count", model="timed")
            for name in (
                "request_queue_time_seconds",
                "time_to_first_token_seconds",
                "inter_token_latency_seconds",
            )
        }
        assert list(counts.values()) == [2, 2, 6]
        assert sample("batch_size_sum", model="timed") == 6

    def test_the_first_token_of_a_request_counts_once(self, decoder: LlamaDecoder) -> None:
        engine = Engine(decoder, vocab_size=VOCAB_SIZE, model="choices")
        request = RecordedRequest([5], num_choices=3, max_new_tokens=2, stop_ids=frozenset())
        run_until_idle(engine, request)
        assert sample("time_to_first_token_seconds_count", model="choices") == 1
        assert sample("inter_token_latency_seconds_count", model="choices") == 3

    def test_waiting_is_part_of_the_time_to_the_first_token(self, decoder: LlamaDecoder) -> None:
        engine = Engine(decoder, vocab_size=VOCAB_SIZE, model="waited")
        request = RecordedRequest([5])
        request = RecordedRequest([5], submitted_at=request.request.submitted_at - 100)
        run_until_idle(engine, request)
        for name in ("request_queue_time_seconds", "time_to_first_token_seconds"):
            assert 100 <= sample(f"{name}_sum", model="waited") < 160


class TestLoad:
    def test_the_kv_cache_fills_and_empties(self, decoder: LlamaDecoder) -> None:
        engine = Engine(decoder, vocab_size=VOCAB_SIZE)
        request = RecordedRequest([5, 6, 7], max_new_tokens=4, stop_ids=frozenset())
        engine.submit(request.request)
        assert engine.stats.waiting_requests == 1
        engine.step()
        # The prompt, and the first token fed back for the second.
        assert (engine.stats.waiting_requests, engine.stats.running_requests) == (0, 1)
        assert engine.stats.kv_tokens == 4 <= engine.stats.kv_capacity_tokens
        while not engine.is_idle:
            engine.step()
        assert engine.stats.kv_tokens == 0

    def test_an_aborted_request_leaves_nothing(self, decoder: LlamaDecoder) -> None:
        engine = Engine(decoder, vocab_size=VOCAB_SIZE)
        request = RecordedRequest([5, 6, 7])
        engine.submit(request.request)
        engine.step()
        engine.abort(request.request)
        assert engine.stats.kv_tokens == 0


class FixedWeights:
    nbytes = 60


class TestAdapters:
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "storage")

    @pytest.fixture
    def folder(self, store: LocalStore, tmp_path: Path) -> AdapterDiskCache:
        return AdapterDiskCache(store, tmp_path / "adapters")

    def lookups(self, cache: str) -> list[float]:
        return [
            sample("adapter_lookups_total", cache=cache, result=result)
            for result in ("hit", "miss")
        ]

    def test_downloads_and_copies_on_disk(
        self, store: LocalStore, folder: AdapterDiskCache
    ) -> None:
        store_adapter(store)
        hits, misses = self.lookups("disk")
        loads = sample("adapter_load_seconds_count", source="storage")
        folder.fetch(PREFIX)
        folder.fetch(PREFIX)
        assert self.lookups("disk") == [hits + 1, misses + 1]
        assert sample("adapter_load_seconds_count", source="storage") == loads + 1

    def test_weights_in_memory(self, store: LocalStore, folder: AdapterDiskCache) -> None:
        cache = AdapterMemoryCache[FixedWeights](lambda _: FixedWeights(), max_bytes=100)
        adapters: list[AdapterFiles] = []
        for name in ("a", "b"):
            store_adapter(store, name)
            adapters.append(folder.fetch(name))
        number, num_bytes = sample("adapters_in_memory"), sample("adapter_memory_bytes")
        hits, misses = self.lookups("memory")
        for files in (*adapters, adapters[1]):
            cache.get(files)
        assert self.lookups("memory") == [hits + 1, misses + 2]
        # Both do not fit.
        assert sample("adapters_in_memory") == number + 1
        assert sample("adapter_memory_bytes") == num_bytes + 60
        cache.discard(adapters[1])
        assert sample("adapter_memory_bytes") == num_bytes

    def test_failures_by_reason(self, store: LocalStore, folder: AdapterDiskCache) -> None:
        store_adapter(store)
        key = f"{PREFIX}/adapter_model.safetensors"
        store.put(key, flip_a_bit(store.get(key)))
        damaged = sample("adapter_load_failures_total", reason="damaged")
        missing = sample("adapter_load_failures_total", reason="missing")
        with pytest.raises(ModelDamaged), map_adapter_errors():
            folder.fetch(PREFIX)
        with pytest.raises(NotFound), map_adapter_errors():
            folder.fetch("projects/nothing")
        assert sample("adapter_load_failures_total", reason="damaged") == damaged + 1
        assert sample("adapter_load_failures_total", reason="missing") == missing + 1
