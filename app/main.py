"""The API process: builds the shared clients and registers the domains' routers.

Run it with `uvicorn app.main:create_app --factory`.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from app import logs
from app.batches import routes as batches
from app.broker import TaskNotifier
from app.catalog import Catalog
from app.changes import routes as changes
from app.changes.feed import ChangeFeed
from app.console import routes as console
from app.conversations import routes as conversations
from app.cpu_pool.pool import CpuPool
from app.db.outbox import notify_after_commit
from app.db.session import create_database_engine, session_maker, transaction_maker
from app.eval_imports import routes as eval_imports
from app.evals import routes as evals
from app.evals import run_routes
from app.exports import routes as exports
from app.files import routes as files
from app.files import upload_routes
from app.files.uploads import MAX_PART_BYTES
from app.graders import routes as graders
from app.http import error_handlers, openapi
from app.http.admission import AdmissionMiddleware
from app.http.dependencies import AppState
from app.http.fair_limiter import FairLimiter, request_owner
from app.http.rate_limits import RateLimit, RateLimiter
from app.http_server.response_pacing import ResponsePacing
from app.inference import routes as inference
from app.inference.engines import EngineClient
from app.job_estimates import routes as job_estimates
from app.jobs import routes as jobs
from app.models import routes as models
from app.monitoring import routes as monitoring
from app.monitoring.recorder import TrafficRecorder
from app.operations import routes as operations
from app.operations.storage_identity import open_verified_store
from app.organization import admin_key_routes, audit_routes
from app.organization import routes as organization
from app.responses import routes as responses
from app.safe_http.client import SafeHttpClient
from app.security_log import SecurityLog
from app.settings import Settings
from app.stored_completions import file_routes as stored_completion_files
from app.stored_completions import routes as stored_completions
from app.stored_completions.recorder import CompletionRecorder
from app.sweeps import routes as sweeps
from app.training_data import routes as training_data
from app.training_data.cache import TrainingDataCache
from app.usage import routes as usage
from app.usage.prices import Prices
from app.webhooks import routes as webhooks

# Pooled connections, and the same number of overflow connections; the session limit leaves a few.
POOL_SIZE = 10
MAX_CONCURRENT_DB_SESSIONS = 16
MAX_CONCURRENT_UPLOADS = 64
# Each takes little memory, and no work while nothing changes.
MAX_CONCURRENT_LISTENERS = 1000
MAX_TRANSFER_THREADS = 32
MAX_JSON_THREADS = 4
# What one project may take of the places that the others leave. Threads come back soon, so more.
MAX_UPLOAD_SHARE = 0.5
MAX_TEST_SHARE = 0.5
MAX_LISTENER_SHARE = 0.5
MAX_THREAD_SHARE = 0.75
# Small, since these run Python code, of which one thread runs at a time: more of one project's
# threads add nothing to its throughput, and each delays all other requests.
MAX_DB_SHARE = 0.2
MAX_CONCURRENT_PROBES = 8
MAX_CONCURRENT_WEBHOOK_TESTS = 8
# Response headers that a web page may read.
CORS_EXPOSED_HEADERS = (
    "retry-after",
    "retry-after-ms",
    "x-request-id",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Create the API. It connects to other services lazily.

    Without `settings`, as the process's entry point, they are read from the environment. Raises
    ValueError if they name no database or no broker.
    """
    if settings is None:
        settings = Settings()
        logs.configure(settings.log_level, "api")
    if settings.database_url is None or settings.redis_url is None:
        raise ValueError("Set DATABASE_URL and REDIS_URL, or run `luthier up`, which starts both.")
    state = _build_state(settings, settings.database_url, settings.redis_url)
    app = FastAPIOffline(
        title="Luthier",
        description="Fine-tuning with OpenAI's API",
        lifespan=_lifespan,
        redoc_url=None,
        # A redirect would contain the Host header, which the client controls.
        redirect_slashes=False,
    )
    openapi.omit_default_422(app)
    openapi.serialize_once(app)
    app.state.shared = state
    app.state.engines = EngineClient(settings, state.catalog, state.store)
    app.state.training_data = TrainingDataCache()
    app.state.recorder = TrafficRecorder(state.sessions)
    app.state.changes = ChangeFeed(state)
    app.state.prices = Prices.load(settings.prices_file)
    app.state.completion_recorder = CompletionRecorder(state.sessions)
    app.add_middleware(AdmissionMiddleware, state=state, max_part_bytes=MAX_PART_BYTES)
    if settings.cors_origins:
        _add_cors(app, settings.cors_origins)
    app.add_middleware(ResponsePacing, find_owner=lambda _: request_owner.get())
    error_handlers.register(app)
    for router in (
        inference.router,
        inference.token_ids_router,
        batches.router,
        changes.router,
        conversations.router,
        files.router,
        graders.router,
        job_estimates.router,
        jobs.router,
        monitoring.router,
        eval_imports.router,
        evals.router,
        run_routes.router,
        exports.router,
        models.router,
        models.aliases_router,
        models.permissions_router,
        operations.router,
        organization.router,
        responses.router,
        admin_key_routes.router,
        audit_routes.router,
        stored_completions.router,
        stored_completion_files.router,
        sweeps.router,
        training_data.router,
        upload_routes.router,
        usage.router,
        webhooks.router,
    ):
        app.include_router(router)
    if settings.console:
        console.register(app)
    return app


def _build_state(settings: Settings, database_url: str, redis_url: str) -> AppState:
    database = create_database_engine(database_url, pool_size=POOL_SIZE, autocommit=True)
    notifier = TaskNotifier(redis_url)
    sessions = transaction_maker(database)
    notify_after_commit(sessions, notifier.notify)
    catalog = Catalog.load(settings.models_file)
    rate_limit = RateLimit(
        settings.rate_limit_requests_per_minute, settings.rate_limit_bytes_per_minute
    )
    return AppState(
        settings=settings,
        database=database,
        sessions=sessions,
        autocommit_sessions=session_maker(database),
        store=open_verified_store(settings, sessions),
        catalog=catalog,
        notifier=notifier,
        webhook_client=SafeHttpClient(settings.webhook_allowed_networks),
        rate_limiter=RateLimiter(redis_url, rate_limit),
        security_log=SecurityLog(settings.security_log_path, "api"),
        cpu_pool=CpuPool(settings.cpu_pool_processes),
        db_slots=FairLimiter(MAX_CONCURRENT_DB_SESSIONS, share=MAX_DB_SHARE),
        upload_slots=FairLimiter(MAX_CONCURRENT_UPLOADS, share=MAX_UPLOAD_SHARE),
        listener_slots=FairLimiter(MAX_CONCURRENT_LISTENERS, share=MAX_LISTENER_SHARE),
        transfer_threads=FairLimiter(MAX_TRANSFER_THREADS, share=MAX_THREAD_SHARE),
        json_threads=FairLimiter(MAX_JSON_THREADS, share=MAX_THREAD_SHARE),
        probe_slots=CapacityLimiter(MAX_CONCURRENT_PROBES),
        webhook_test_slots=FairLimiter(MAX_CONCURRENT_WEBHOOK_TESTS, share=MAX_TEST_SHARE),
    )


def _add_cors(app: FastAPI, origins: Sequence[str]) -> None:
    # Outside of the admission middleware: a browser's preflight request (OPTIONS) carries no key.
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "HEAD", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=CORS_EXPOSED_HEADERS,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: AppState = app.state.shared
    engines: EngineClient = app.state.engines
    recorder: TrafficRecorder = app.state.recorder
    completion_recorder: CompletionRecorder = app.state.completion_recorder
    recorder.start()
    completion_recorder.start()
    yield
    await to_thread.run_sync(recorder.stop)
    await to_thread.run_sync(completion_recorder.stop)
    await engines.close()
    await state.cpu_pool.close()
    await state.rate_limiter.close()
    state.security_log.summarize()
    state.database.dispose()
