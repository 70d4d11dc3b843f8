"""Fixtures of eval runs."""

import asyncio

import pytest

from app.cpu_pool.protocol import Task
from app.operations import work_kinds


class InProcessPool:
    """A pool without processes, which take seconds to start."""

    async def call(
        self, owner: str, task: Task, payload: bytes, *, timeout_seconds: float
    ) -> bytes:
        return await asyncio.to_thread(task, payload)

    async def close(self) -> None:
        pass


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_kinds, "CpuPool", lambda _processes: InProcessPool())
