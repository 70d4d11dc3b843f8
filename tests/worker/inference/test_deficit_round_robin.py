"""Deficit round robin: projects share by cost, each in order, in constant time."""

import asyncio
import threading

import pytest

from worker.inference.deficit_round_robin import DeficitRoundRobin
from worker.inference.fair_executor import COST_PER_CALL, QUANTUM, FairExecutor


def drain(queue: DeficitRoundRobin[str], count: int) -> list[str]:
    return [queue.pop() for _ in range(count)]


def test_items_of_one_project_stay_in_order() -> None:
    queue: DeficitRoundRobin[str] = DeficitRoundRobin(10)
    for number in range(5):
        queue.push("a", 7, str(number))
    assert drain(queue, 5) == list("01234")
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.pop()


def test_a54_a_newcomer_is_served_within_one_quantum() -> None:
    queue: DeficitRoundRobin[str] = DeficitRoundRobin(10)
    for _ in range(1000):
        queue.push("a", 10, "a")
    drain(queue, 3)
    queue.push("b", 1, "b")
    assert "b" in drain(queue, 2)


def test_a54_shares_are_of_cost_not_of_items() -> None:
    queue: DeficitRoundRobin[str] = DeficitRoundRobin(10)
    for _ in range(1000):
        queue.push("small", 1, "small")
        queue.push("large", 10, "large")
    served = drain(queue, 550)
    assert served.count("small") == pytest.approx(10 * served.count("large"), abs=20)


def test_an_item_of_many_quanta_is_served() -> None:
    queue: DeficitRoundRobin[str] = DeficitRoundRobin(10)
    queue.push("a", 1000, "large")
    queue.push("b", 5, "small")
    assert sorted(drain(queue, 2)) == ["large", "small"]


def test_a51_rendering_of_projects_takes_turns() -> None:
    """One project queues much; another's prompt waits for the running one and one quantum."""
    order: list[str] = []
    gate = threading.Event()

    async def run() -> None:
        executor = FairExecutor(1, "test")
        work = [executor.run("a", 1, lambda: gate.wait(60))]
        tasks = [asyncio.ensure_future(coroutine) for coroutine in work]
        for _ in range(50):
            render = executor.run("a", QUANTUM, lambda: order.append("a"))
            tasks.append(asyncio.ensure_future(render))
        tasks.append(asyncio.ensure_future(executor.run("b", 100, lambda: order.append("b"))))
        # All are queued once their coroutines have run.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert order.index("b") <= 2


def test_a51_empty_inputs_are_not_free() -> None:
    order: list[str] = []
    gate = threading.Event()
    executor = FairExecutor(1, "test")
    executor.submit("a", 0, lambda: gate.wait(60))
    count = 2 * QUANTUM // COST_PER_CALL
    last = [executor.submit("a", 0, lambda: order.append("a")) for _ in range(count)][-1]
    other = executor.submit("b", 0, lambda: order.append("b"))
    gate.set()
    other.result(60)
    last.result(60)
    assert order.index("b") <= count / 2


def test_the_error_of_a_function_is_raised_to_its_caller() -> None:
    async def run() -> None:
        executor = FairExecutor(1, "test")
        with pytest.raises(ZeroDivisionError):
            await executor.run("a", 1, lambda: 1 // 0)
        assert await executor.run("a", 1, lambda: 5) == 5

    asyncio.run(run())
