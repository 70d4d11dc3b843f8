"""Shares of a limited pool, and turns of those that wait."""

import asyncio

import pytest

from app.http.fair_limiter import FairLimiter, request_owner


def take_all(limiter: FairLimiter, owner: str) -> int:
    taken = 0
    while limiter.try_acquire(owner):
        taken += 1
    return taken


def test_one_owner_may_have_a_share_of_the_pool() -> None:
    assert take_all(FairLimiter(16, share=0.75), "a") == 12
    assert take_all(FairLimiter(1000, share=0.5), "a") == 500


def test_greedy_owners_leave_room_for_the_next() -> None:
    limiter = FairLimiter(64, share=0.5)
    taken = [take_all(limiter, f"greedy{number}") for number in range(5)]
    assert all(taken), taken
    assert limiter.try_acquire("other")


def test_a_greedy_owner_yields_when_others_come() -> None:
    limiter = FairLimiter(10, share=0.5)
    assert take_all(limiter, "first") == 5
    assert take_all(limiter, "second") == 2
    limiter.release("first")
    assert not limiter.try_acquire("first"), "its share has become smaller"


def test_a_pool_of_one_is_usable() -> None:
    limiter = FairLimiter(1, share=0.5)
    assert limiter.try_acquire("a")
    assert not limiter.try_acquire("b")
    limiter.release("a")
    assert limiter.try_acquire("b")


async def hold(limiter: FairLimiter, owner: str, order: list[str]) -> None:
    request_owner.set(owner)
    async with limiter.slot():
        order.append(owner)
        await asyncio.sleep(0)


def test_owners_that_wait_take_turns() -> None:
    async def main() -> list[str]:
        limiter, order = FairLimiter(1, share=0.5), list[str]()
        owners = ["greedy"] * 20 + ["other"] * 3
        await asyncio.gather(*(hold(limiter, owner, order) for owner in owners))
        assert limiter.in_use == 0
        return order

    order = asyncio.run(main())
    assert len(order) == 23
    assert order[:8].count("other") == 3, order


def test_a_cancelled_wait_gives_its_place_to_the_next() -> None:
    async def main() -> None:
        limiter, order = FairLimiter(1, share=0.5), list[str]()
        await limiter.acquire("holder")
        waiting = [asyncio.create_task(hold(limiter, "a", order)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        # Granted and cancelled at the same time.
        limiter.release("holder")
        waiting[1].cancel()
        await asyncio.wait(waiting)
        assert order == ["a"]
        assert limiter.in_use == 0
        assert limiter.try_acquire("b")

    asyncio.run(main())


def test_a_wait_cancelled_in_the_same_turn_is_passed_over() -> None:
    async def main() -> None:
        limiter, order = FairLimiter(1, share=0.5), list[str]()
        await limiter.acquire("holder")
        waiting = [asyncio.create_task(hold(limiter, owner, order)) for owner in ("a", "a", "b")]
        await asyncio.sleep(0)
        # The place is returned before the cancelled task has run.
        waiting[0].cancel()
        limiter.release("holder")
        await asyncio.wait(waiting)
        assert sorted(order) == ["a", "b"]
        assert limiter.in_use == 0

    asyncio.run(main())


def test_a_failed_function_returns_its_place() -> None:
    async def main() -> None:
        limiter = FairLimiter(1, share=0.5)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await limiter.run(divmod, 1, 0)
        assert await limiter.run(divmod, 5, 3) == (1, 2)

    asyncio.run(main())
