"""Order and bounds of the fair queue."""

import pytest

from app.cpu_pool.fair_queue import FairQueue
from app.cpu_pool.protocol import PoolOverloaded


def drain(queue: FairQueue[str], *, costs: dict[str, float], steps: int) -> list[str]:
    owners = []
    for _ in range(steps):
        taken = queue.pop("worker")
        assert taken is not None
        owners.append(taken[0])
        queue.charge(taken[0], costs[taken[0]])
    return owners


def filled(counts: dict[str, int]) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue()
    for owner, count in counts.items():
        for number in range(count):
            queue.push(owner, f"{owner}{number}")
    return queue


def test_owners_with_equal_costs_take_turns() -> None:
    queue = filled({"a": 50, "b": 3, "c": 3})
    order = drain(queue, costs={"a": 1, "b": 1, "c": 1}, steps=9)
    assert sorted(order) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3


def test_an_owner_of_long_items_gets_fewer_turns() -> None:
    queue = filled({"long": 10, "short": 30})
    order = drain(queue, costs={"long": 10, "short": 1}, steps=33)
    assert order.count("long") <= 4


def test_an_owner_that_returns_has_saved_nothing_up() -> None:
    queue = filled({"busy": 100})
    drain(queue, costs={"busy": 1}, steps=50)
    for _ in range(20):
        queue.push("back", "item")
    order = drain(queue, costs={"busy": 1, "back": 1}, steps=20)
    assert 9 <= order.count("busy") <= 11


def test_items_of_one_consumer_are_for_it_alone() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("a", "one", consumer="first")
    queue.push("a", "any")
    assert queue.pop("second") == ("a", "any")
    assert queue.pop("second") is None
    assert queue.remove_consumer("first") == ["one"]
    assert len(queue) == 0


def test_an_owner_may_have_so_many_items_and_all_together_so_many() -> None:
    queue: FairQueue[str] = FairQueue(max_items_per_owner=2, max_items=3)
    queue.push("a", "1")
    queue.push("a", "2")
    with pytest.raises(PoolOverloaded):
        queue.push("a", "3")
    queue.push("b", "1")
    with pytest.raises(PoolOverloaded):
        queue.push("c", "1")
    queue.push("c", "1", has_limit=False)
    assert queue.pop("worker") == ("a", "1")


def test_the_time_does_not_go_back_for_an_item_that_waited_for_its_consumer() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("waiting", "old", consumer="other")
    for _ in range(3):
        queue.push("busy", "busy")
        queue.pop("this")
        queue.charge("busy", 10)
    queue.push("busy", "busy")
    queue.pop("this")
    assert queue.pop("other") == ("waiting", "old")
    for _ in range(4):
        queue.push("new", "new")
    queue.push("busy", "busy")
    served = []
    for _ in range(3):
        owner, _item = queue.pop("this") or ("", "")
        queue.charge(owner, 10)
        served.append(owner)
    assert "busy" in served, "a newcomer has no claim to the past"
