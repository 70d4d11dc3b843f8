"""The API process: the only place that joins its parts.

uvicorn app.main:create_app --factory
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from app import logs
from app.broker import Bells
from app.catalog import Catalog
from app.db.outbox import ring_on_commit
from app.db.session import connect, session_maker, transaction_maker
from app.files import routes as files
from app.files import upload_routes
from app.files.uploads import PART_BYTES
from app.graders import routes as graders
from app.http import error_handlers, openapi
from app.http.admission import Guard
from app.http.dependencies import Parts
from app.http.rate_limits import Limits, Rates
from app.inference import chat_routes, completion_routes, embedding_routes, encoder_routes
from app.inference.engines import Engines
from app.jobs import routes as jobs
from app.models import permission_routes
from app.models import routes as models
from app.monitoring import routes as monitoring
from app.monitoring.recorder import Recorder
from app.operations import metrics_routes
from app.operations import routes as health
from app.organization import (
    admin_key_routes,
    api_key_routes,
    project_routes,
    service_account_routes,
)
from app.safe_http.client import Poster
from app.safe_http.ip_policy import parse_networks
from app.settings import Settings
from app.storage import open_store
from app.webhooks import routes as webhooks

# Connections kept, and as many again in a rush; all but a few of them are for requests' turns.
POOL_SIZE = 10
TURNS = 16
UPLOADS_AT_ONCE = 64
PROBES_AT_ONCE = 8
WEBHOOK_TESTS_AT_ONCE = 8
# Of our answers' headers, those that a page in a browser may read.
EXPOSED = (
    "retry-after",
    "retry-after-ms",
    "x-request-id",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API; nothing is connected to before a request needs it.

    Without `settings` this is the process's entry point: they come from the environment.
    Raises ValueError if there is no database or broker among them.
    """
    if settings is None:
        settings = Settings()
        logs.configure(settings.log_level, "api")
    if settings.database_url is None or settings.redis_url is None:
        raise ValueError("Set DATABASE_URL and REDIS_URL, or run `luthier up`, which brings both.")
    parts = _join(settings, settings.database_url, settings.redis_url)
    app = FastAPIOffline(
        title="Luthier",
        description="Fine-tuning behind OpenAI's API",
        lifespan=_lifespan,
        redoc_url=None,
        # A redirect would be made of the Host header, which the client chooses.
        redirect_slashes=False,
        responses=openapi.PLACEHOLDER,
    )
    openapi.register(app)
    app.state.parts = parts
    app.state.engines = Engines(settings, parts.catalog)
    app.state.recorder = Recorder(parts.sessions)
    app.add_middleware(Guard, parts=parts, part_bytes=PART_BYTES)
    if settings.cors_origins:
        _allow_browsers(app, settings.cors_origins)
    error_handlers.register(app)
    for router in (
        admin_key_routes.router,
        chat_routes.router,
        completion_routes.router,
        embedding_routes.router,
        encoder_routes.router,
        files.router,
        graders.router,
        health.router,
        jobs.router,
        api_key_routes.router,
        metrics_routes.router,
        monitoring.router,
        models.router,
        permission_routes.router,
        project_routes.router,
        service_account_routes.router,
        upload_routes.router,
        webhooks.router,
    ):
        app.include_router(router)
    return app


def _join(settings: Settings, database_url: str, redis_url: str) -> Parts:
    database = connect(database_url, pool_size=POOL_SIZE, autocommit=True)
    bells = Bells(redis_url)
    sessions = transaction_maker(database)
    ring_on_commit(sessions, bells.ring)
    catalog = Catalog.load(settings.models_file)
    limits = Limits(settings.key_requests_per_minute, settings.key_bytes_per_minute)
    return Parts(
        settings=settings,
        database=database,
        sessions=sessions,
        statements=session_maker(database),
        store=open_store(settings),
        catalog=catalog,
        bells=bells,
        poster=Poster(parse_networks(settings.webhook_networks)),
        rates=Rates(redis_url, limits),
        turns=CapacityLimiter(TURNS),
        uploads=CapacityLimiter(UPLOADS_AT_ONCE),
        probes=CapacityLimiter(PROBES_AT_ONCE),
        webhook_tests=CapacityLimiter(WEBHOOK_TESTS_AT_ONCE),
    )


def _allow_browsers(app: FastAPI, origins: str) -> None:
    # Around the guard: a browser asks with OPTIONS and without a key before it sends one.
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[origin.strip() for origin in origins.split(",")],
        allow_methods=["GET", "HEAD", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=EXPOSED,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    engines: Engines = app.state.engines
    recorder: Recorder = app.state.recorder
    recorder.start()
    yield
    await to_thread.run_sync(recorder.stop)
    await engines.close()
    await parts.rates.close()
    parts.database.dispose()
