"""Memory of the KV cache: taken by tokens, not by slots, and given back."""

from weakref import WeakKeyDictionary

import psutil
import pytest
import torch

from worker.host_memory import HostMemory
from worker.inference.kv_cache import KvCache
from worker.inference.kv_memory import MAX_NUM_SEQS, SlottedTensor, compute_capacity, promise


class KvOwner:
    """Any object that has a cache."""


CPU = torch.device("cpu")
MIB = 2**20


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


def test_a_cache_takes_the_memory_of_its_tokens_only() -> None:
    # 64 KiB per token: 33 contexts of 131,072 tokens would take 270 GiB.
    before = resident()
    cache = KvCache(
        layers=4,
        num_slots=32,
        num_kv_heads=8,
        context_length=131_072,
        head_dim=512,
        dtype=torch.bfloat16,
        device=CPU,
    )
    assert resident() - before < 16 * MIB
    copies = [torch.ones(8, 1024, 512, dtype=torch.bfloat16) for _ in range(8)]
    kept = resident()
    cache.write_slot(20, 0, copies)
    assert 63 * MIB < resident() - kept < 80 * MIB
    cache.erase_slot(20)
    assert resident() - kept < 16 * MIB
    assert not any(bool(tensor[20, :, :1024].any()) for tensor in (*cache.keys, *cache.values))


def test_a_slot_is_erased_without_its_neighbours() -> None:
    # Less than a page each.
    slotted = SlottedTensor((3, 2, 5, 8), torch.float32, CPU)
    assert slotted.tensor.shape == (3, 2, 5, 8)
    assert not slotted.tensor.any()
    slotted.tensor[:] = 1
    slotted.erase(1)
    assert [bool(slot.any()) for slot in slotted.tensor] == [True, False, True]


@pytest.fixture(autouse=True)
def _no_other_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.inference.kv_memory._promised_bytes", WeakKeyDictionary())


@pytest.mark.parametrize("available", [2**30, 8 * 2**30])
def test_capacity_follows_free_memory(available: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HostMemory, "available_bytes", lambda _: available)
    capacity = compute_capacity(bytes_per_token=2**15, context_length=2048, device=CPU)
    assert capacity.num_slots == MAX_NUM_SEQS
    total = capacity.num_tokens + capacity.num_prefix_tokens
    assert total * 2**15 == available // 4


def test_what_another_model_may_take_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HostMemory, "available_bytes", lambda _: 8 * 2**30)
    owner = KvOwner()
    promise(owner, 4 * 2**30)
    capacity = compute_capacity(bytes_per_token=2**15, context_length=2048, device=CPU)
    assert (capacity.num_tokens + capacity.num_prefix_tokens) * 2**15 == 2**30
    del owner
    capacity = compute_capacity(bytes_per_token=2**15, context_length=2048, device=CPU)
    assert (capacity.num_tokens + capacity.num_prefix_tokens) * 2**15 == 2 * 2**30


def test_one_sequence_of_a_whole_context_always_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HostMemory, "available_bytes", lambda _: 2**30)
    capacity = compute_capacity(bytes_per_token=2**20, context_length=131_072, device=CPU)
    assert capacity.num_tokens == 131_072
