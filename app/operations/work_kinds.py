"""The kinds of work that the io process does, with the clients that they share."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from anyio import to_thread

from app.batches import service as batches
from app.batches.work import BatchWork
from app.catalog import Catalog
from app.cpu_pool.pool import CpuPool
from app.db.session import SessionMaker
from app.evals import runs
from app.evals.work import EvalRunWork
from app.inference.engines import EngineClient
from app.monitoring.recorder import TrafficRecorder
from app.responses import background as responses
from app.responses.work import ResponseWork
from app.settings import Settings
from app.storage import ObjectStore
from app.work.kinds import WorkKind


@asynccontextmanager
async def open_kinds(
    settings: Settings, sessions: SessionMaker, store: ObjectStore, catalog: Catalog
) -> AsyncIterator[Mapping[str, WorkKind]]:
    """Open the kinds of work, by name. Their clients belong to the running event loop."""
    engines = EngineClient(settings, catalog, store)
    recorder = TrafficRecorder(sessions)
    pool = CpuPool(settings.cpu_pool_processes)
    recorder.start()
    try:
        yield {
            batches.KIND: BatchWork(settings, sessions, store, catalog, engines, recorder),
            responses.KIND: ResponseWork(settings, sessions, catalog, engines, recorder),
            runs.KIND: EvalRunWork(settings, sessions, store, catalog, engines, recorder, pool),
        }
    finally:
        await engines.close()
        await pool.close()
        await to_thread.run_sync(recorder.stop)
