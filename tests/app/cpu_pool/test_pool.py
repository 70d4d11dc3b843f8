"""The CPU pool: real worker processes, driven from an event loop."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psutil
import pytest

from app.cpu_pool.pool import CpuPool
from app.cpu_pool.process import WorkerProcess
from app.cpu_pool.protocol import (
    Frame,
    PoolOverloaded,
    TaskCrashed,
    TaskOutOfMemory,
    TaskTimeout,
    WorkerLost,
)
from app.cpu_pool.worker import MAX_MEMORY_BYTES, NICENESS
from tests.app.cpu_pool import tasks
from tests.polling import wait_until

MIB = 2**20


@asynccontextmanager
async def pool_of(processes: int) -> AsyncIterator[CpuPool]:
    pool = CpuPool(processes)
    try:
        yield pool
    finally:
        await pool.close()


def run(work: Callable[[CpuPool], Awaitable[None]], processes: int = 1) -> None:
    async def main() -> None:
        async with pool_of(processes) as pool:
            await work(pool)

    asyncio.run(main())


def test_calls_return_bytes() -> None:
    async def work(pool: CpuPool) -> None:
        assert pool.worker_pids == [], "processes are started when they are needed"
        replies = await asyncio.gather(*(pool.call("a", tasks.reverse, b"12") for _ in range(20)))
        assert replies == [b"21"] * 20
        payload = os.urandom(4 * MIB)
        assert await pool.call("a", tasks.reverse, payload) == payload[::-1]

    run(work)


def test_a_worker_is_nice_bounded_and_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    async def work(pool: CpuPool) -> None:
        process, niceness, *names = (await pool.call("a", tasks.describe_process, b"")).split()
        assert int(process) in pool.worker_pids
        assert int(niceness) >= NICENESS
        assert not {b"DATABASE_URL", b"AWS_SECRET_ACCESS_KEY"} & set(names)
        with pytest.raises(TaskOutOfMemory):
            await pool.call("a", tasks.take_memory, str(MAX_MEMORY_BYTES).encode())
        assert await pool.call("a", tasks.reverse, b"ab") == b"ba", "the process goes on"
        assert len(pool.worker_pids) == 1

    run(work)


def test_an_exception_is_reported_and_the_process_stays() -> None:
    async def work(pool: CpuPool) -> None:
        with pytest.raises(TaskCrashed, match="ValueError: reason"):
            await pool.call("a", tasks.fail, b"reason")
        pids = pool.worker_pids
        assert await pool.call("a", tasks.reverse, b"ab") == b"ba"
        assert pool.worker_pids == pids

    run(work)


@pytest.mark.parametrize("crash", ["timeout", "killed"])
def test_a_lost_process_fails_its_task_alone_and_is_replaced(crash: str) -> None:
    async def work(pool: CpuPool) -> None:
        await pool.call("a", tasks.reverse, b"")
        (lost,) = pool.worker_pids
        if crash == "timeout":
            failing = pool.call("a", tasks.sleep, b"60", timeout_seconds=0.2)
        else:
            failing = pool.call("a", tasks.die, b"")
        others = [pool.call("b", tasks.reverse, b"ab") for _ in range(3)]
        results = await asyncio.gather(failing, *others, return_exceptions=True)
        assert isinstance(results[0], TaskTimeout if crash == "timeout" else WorkerLost)
        assert results[1:] == [b"ba"] * 3
        assert lost not in pool.worker_pids
        await asyncio.to_thread(
            wait_until, "the process is gone", lambda: not psutil.pid_exists(lost)
        )

    run(work)


class TestStreams:
    def test_chunks_of_several_streams_are_interleaved(self) -> None:
        async def send(pool: CpuPool, owner: str) -> bytes:
            async with pool.stream(owner, tasks.Joiner) as stream:
                for number in range(10):
                    await stream.feed(f"{owner}{number}".encode())
                return await stream.finish()

        async def work(pool: CpuPool) -> None:
            owners = [f"project{number}" for number in range(8)]
            results = await asyncio.gather(*(send(pool, owner) for owner in owners))
            expected = ["".join(f"{owner}{n}" for n in range(10)) for owner in owners]
            assert [result.decode() for result in results] == expected
            assert len(pool.worker_pids) == 2

        run(work, processes=2)

    def test_a_failed_stream_never_starts_anew(self) -> None:
        async def work(pool: CpuPool) -> None:
            async with pool.stream("a", tasks.Joiner) as stream:
                await stream.feed(b"first")
                with pytest.raises(TaskCrashed):
                    await stream.feed(b"!")
                with pytest.raises(WorkerLost):
                    await stream.finish()

        run(work)

    def test_a_lost_process_fails_its_streams(self) -> None:
        async def work(pool: CpuPool) -> None:
            async with pool.stream("a", tasks.Joiner) as one, pool.stream("b", tasks.Joiner) as two:
                await two.feed(b"kept")
                with pytest.raises(WorkerLost):
                    await one.feed(b"x")
                with pytest.raises(WorkerLost):
                    await two.finish()
            async with pool.stream("b", tasks.Joiner) as again:
                await again.feed(b"again")
                assert await again.finish() == b"again"

        run(work)

    def test_an_abandoned_stream_frees_its_memory(self) -> None:
        async def work(pool: CpuPool) -> None:
            chunk = bytes(32 * MIB)
            # Together they would exceed the limit of a process.
            for _ in range(2 * MAX_MEMORY_BYTES // len(chunk)):
                async with pool.stream("a", tasks.Joiner) as stream:
                    await stream.feed(chunk)

        run(work)


def test_a_cancelled_caller_leaves_the_pool_usable() -> None:
    async def work(pool: CpuPool) -> None:
        calls = [asyncio.create_task(pool.call("a", tasks.sleep, b"0.01")) for _ in range(20)]
        await asyncio.sleep(0.05)
        for call in calls:
            call.cancel()
        assert await pool.call("a", tasks.reverse, b"ab") == b"ba"

    run(work)


def test_the_queue_of_a_project_is_bounded() -> None:
    async def work(pool: CpuPool) -> None:
        calls = [pool.call("greedy", tasks.reverse, b"") for _ in range(1000)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert any(isinstance(result, PoolOverloaded) for result in results)
        assert await pool.call("other", tasks.reverse, b"ab") == b"ba"

    run(work)


def test_a_project_with_many_tasks_does_not_delay_another() -> None:
    """Order of completion: the neighbour's call comes after at most a few of the hundred."""

    async def work(pool: CpuPool) -> None:
        await pool.call("warm", tasks.reverse, b"")
        done: list[str] = []

        async def call(owner: str) -> None:
            await pool.call(owner, tasks.sleep, b"0.005")
            done.append(owner)

        greedy = [asyncio.create_task(call("greedy")) for _ in range(100)]
        await asyncio.sleep(0.05)
        for _ in range(3):
            before = len(done)
            await call("other")
            assert len(done) - before <= 4, "the neighbour waited for the greedy project's queue"
        await asyncio.gather(*greedy)

    run(work)


def test_workers_end_with_their_parent() -> None:
    """Even if the parent is killed and a worker is in the middle of a task."""
    program = (
        "import asyncio\n"
        "from app.cpu_pool.pool import CpuPool\n"
        "from tests.app.cpu_pool import tasks\n"
        "async def main():\n"
        "    pool = CpuPool(1)\n"
        "    await pool.call('a', tasks.reverse, b'')\n"
        "    print(*pool.worker_pids, flush=True)\n"
        "    await pool.call('a', tasks.sleep, b'600', timeout_seconds=600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        worker.wait(10)


def test_closing_fails_what_waits() -> None:
    async def main() -> None:
        pool = CpuPool(1)
        calls = [asyncio.create_task(pool.call("a", tasks.sleep, b"60")) for _ in range(3)]
        await asyncio.sleep(0.2)
        await pool.close()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [WorkerLost] * 3

    asyncio.run(main())


def test_an_exception_that_quotes_a_lone_surrogate_ends_no_process() -> None:
    async def work(pool: CpuPool) -> None:
        with pytest.raises(TaskCrashed, match="ud800"):
            await pool.call("a", tasks.fail_with_surrogate, b"")
        pids = pool.worker_pids
        assert await pool.call("a", tasks.reverse, b"ab") == b"ba"
        assert pool.worker_pids == pids, "other projects' streams are in the same process"

    run(work)


def test_an_unexpected_error_leaves_no_caller_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def exchange(self: WorkerProcess, frame: Frame) -> bytes:
        raise MemoryError

    async def work(pool: CpuPool) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(WorkerProcess, "exchange", exchange)
            with pytest.raises(WorkerLost):
                await asyncio.wait_for(pool.call("a", tasks.reverse, b"ab"), timeout=30)
        assert await pool.call("a", tasks.reverse, b"ab") == b"ba", "a new process"

    run(work)
