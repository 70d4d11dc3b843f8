"""Checks of `luthier doctor`: one finding for each part of the machine, with its remedy."""

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
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
from app.local import cluster_upgrade, engine_checks, ports, process_specs
from app.local.embedded import EmbeddedUnavailable
from app.local.finding import Finding
from app.local.home import POSTGRES, Home, HomeUnusable, RunningStack
from app.local.postgres import check_major
from app.local.postgres import find_server as postgres_server
from app.local.valkey import find_server as valkey_server
from app.operations import periodic_task_runs, storage_identity
from app.operations.health import check_database
from app.operations.periodic_task_runs import TaskName
from app.settings import Settings, environment_variable
from app.storage import StorageUnavailable, VerifiedStore, open_store

MIN_PYTHON = (3, 11)
GIB = 2**30
# A fine-tuned model with its checkpoints takes 100 MB, a converted base model 600 MB.
MIN_FREE_BYTES = GIB
NOT_RUNNING = "it is not running; start it with `make up` or `luthier up`"


def run_checks() -> Iterator[Finding]:
    """Run all checks. They change nothing, except that a missing LUTHIER_HOME is created."""
    yield _check_python()
    try:
        settings = Settings()
    except ValidationError as error:
        yield Finding("settings", False, explain_settings_error(error))
        return
    yield Finding("settings", True, "all environment variables are valid")
    try:
        running = Home(settings.home).running_stack()
    except HomeUnusable as error:
        yield Finding("LUTHIER_HOME", False, str(error))
        return
    yield _check_disk(settings)
    yield _check_port(settings, running)
    yield from _check_catalog(settings)
    yield engine_checks.check_kernels(settings)
    yield _check_database(settings, running)
    if running is not None:
        yield from _check_periodic_tasks(running.database_url)
        yield _check_backups(running.database_url)
    yield _check_broker(settings, running)
    yield _check_storage(settings, running)
    yield _check_service(settings, running)


def explain_settings_error(error: ValidationError) -> str:
    """Explain invalid settings in sentences, by the names of their environment variables."""
    details = error.errors(include_url=False, include_context=False)
    return "; ".join(map(_explain_field, details))


def _explain_field(error: ErrorDetails) -> str:
    if not error["loc"]:
        return error["msg"]
    field = str(error["loc"][0])
    name = environment_variable(field) if field in Settings.model_fields else field
    return f"{name}={error['input']} cannot be used: {error['msg']}"


def _check_python() -> Finding:
    version = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info >= MIN_PYTHON:
        return Finding("Python", True, version)
    return Finding("Python", False, f"{version} is too old; Luthier needs 3.11 or newer")


def _check_disk(settings: Settings) -> Finding:
    home = settings.home
    free = shutil.disk_usage(home).free
    sentence = f"{home} is writable, {free / GIB:.1f} GiB free"
    if free >= max(MIN_FREE_BYTES, settings.disk_reserve_bytes):
        return Finding("LUTHIER_HOME", True, sentence)
    state = "full" if free < GIB / 16 else "nearly full"
    return Finding(
        "LUTHIER_HOME",
        False,
        f"the disk of {home} is {state} ({free / 2**20:.0f} MiB free), "
        "and uploads are refused; make room, or choose another folder with LUTHIER_HOME",
    )


def _check_port(settings: Settings, running: RunningStack | None) -> Finding:
    problem = ports.describe_port_conflict(settings.port, settings.host)
    if problem is None:
        return Finding("port", True, f"{settings.port} is free")
    url = process_specs.api_url(settings)
    is_api_alone = (
        running is None
        and process_specs.fetch_readiness(f"{url}/readyz", timeout_seconds=2) is not None
    )
    if is_api_alone or (running is not None and running.url == url):
        return Finding("port", True, f"{settings.port} is Luthier's own")
    return Finding("port", False, f"{settings.port} {problem}; choose another with PORT")


def _check_catalog(settings: Settings) -> Iterator[Finding]:
    try:
        catalog = Catalog.load(settings.models_file)
    except CatalogError as error:
        yield Finding("catalog", False, str(error))
        return
    yield Finding("catalog", True, f"{settings.models_file} lists {len(list(catalog))} models")
    for model in catalog:
        yield _check_source(model)
    yield from engine_checks.check_engines(settings, catalog)


def _check_source(model: CatalogModel) -> Finding:
    scheme, _, rest = model.source.partition(":")
    missing = None
    if scheme == "package":
        missing = _missing_package_file(*rest.split("/", 1))
    elif scheme == "path" and not Path(rest, "config.json").is_file():
        missing = f"there is no config.json in {rest}"
    if missing is not None:
        return Finding(model.id, False, f"its source {model.source} is missing: {missing}")
    availability = "is installed" if scheme in ("package", "path") else "is fetched on first use"
    return Finding(model.id, True, f"its source {model.source} {availability}")


def _missing_package_file(name: str, file: str) -> str | None:
    try:
        path = Path(str(distribution(name).locate_file(file)))
    except PackageNotFoundError:
        return f"the package {name} is not installed (pip install --no-deps {name})"
    return None if path.exists() else f"the package {name} has no {file}"


def _check_database(settings: Settings, running: RunningStack | None) -> Finding:
    url = settings.database_url or (running.database_url if running else None)
    if url is None:
        return _check_embedded_database(settings)
    engine = create_database_engine(url, pool_size=1)
    try:
        check_database(session_maker(engine))
    except DatabaseUnavailable as error:
        return Finding("database", False, f"cannot be reached; see DATABASE_URL: {error}")
    finally:
        engine.dispose()
    return Finding("database", True, "answers")


def _check_embedded_database(settings: Settings) -> Finding:
    """Check that the installed server can use the data, or else that it can be upgraded."""
    finding = _check_embedded_server("database", "Postgres", postgres_server)
    if not finding.ok:
        return finding
    data = settings.home / POSTGRES
    try:
        check_major(data, postgres_server())
    except EmbeddedUnavailable as error:
        problem = cluster_upgrade.describe_obstacle(data)
        return Finding("database", False, f"{error}{f' {problem}' if problem else ''}")
    return finding


def _check_backups(database_url: str) -> Finding:
    """Check that the last backup is not too old. That there is none is the operator's choice."""
    try:
        with one_off_transaction(database_url) as session:
            statuses = periodic_task_runs.list_task_statuses(session)
    except DatabaseUnavailable as error:
        return Finding("backup", False, f"its time cannot be read: {error}")
    last = next((status for status in statuses if status.name == TaskName.BACKUP), None)
    if last is None:
        return Finding("backup", True, "there is none yet: take one with `luthier backup`")
    days = last.age.total_seconds() / 86400
    state = "is too old: it was taken" if last.is_late else "was taken"
    return Finding("backup", not last.is_late, f"the last one {state} {days:.1f} days ago")


def _check_periodic_tasks(database_url: str) -> Iterator[Finding]:
    """Check that the periodic tasks of the running stack have succeeded recently."""
    try:
        with one_off_transaction(database_url) as session:
            statuses = periodic_task_runs.list_task_statuses(session)
    except DatabaseUnavailable:
        # Reported by the database check already.
        return
    late = [
        f"{s.name} (last succeeded {s.age.total_seconds() / 60:.0f} min ago)"
        for s in statuses
        if s.is_late and s.name != TaskName.BACKUP
    ]
    if late:
        yield Finding(
            "periodic tasks", False, f"late: {', '.join(late)}; see io.log and trainer.log"
        )
    else:
        yield Finding("periodic tasks", True, f"all {len(statuses)} succeeded recently")


def _check_broker(settings: Settings, running: RunningStack | None) -> Finding:
    url = settings.redis_url or (running.redis_url if running else None)
    if url is None:
        return _check_embedded_server("broker", "Valkey", valkey_server)
    try:
        TaskNotifier(url).check()
    except BrokerUnavailable as error:
        return Finding("broker", False, f"{error}; see REDIS_URL")
    return Finding("broker", True, "answers")


def _check_embedded_server(part: str, name: str, find_server: Callable[[], Path]) -> Finding:
    try:
        find_server()
    except EmbeddedUnavailable as error:
        return Finding(part, False, str(error))
    return Finding(part, True, f"embedded {name}, started by `luthier up`")


def _check_storage(settings: Settings, running: RunningStack | None) -> Finding:
    location = f"bucket {settings.s3_bucket}" if settings.s3_bucket else "a folder in LUTHIER_HOME"
    url = settings.database_url or (running.database_url if running else None)
    try:
        marker = None if url is None else _find_marker(url)
        VerifiedStore(open_store(settings), lambda: marker, interval_seconds=0).check()
    except StorageUnavailable as error:
        return Finding("storage", False, str(error))
    return Finding("storage", True, f"{location} works")


def _find_marker(database_url: str) -> str | None:
    """The marker that the storage must have; None if the database does not say."""
    try:
        with one_off_transaction(database_url) as session:
            return storage_identity.find_marker(session)
    except DatabaseUnavailable:
        # Reported by the database check already.
        return None


def _check_service(settings: Settings, running: RunningStack | None) -> Finding:
    # An API that was started alone is not recorded in LUTHIER_HOME.
    url = running.url if running else process_specs.api_url(settings)
    report = process_specs.fetch_readiness(
        f"{url}/readyz", timeout_seconds=process_specs.READINESS_TIMEOUT_SECONDS
    )
    if report is not None:
        problems = process_specs.problems_sentence(report)
        return Finding("service", problems is None, problems or f"answers at {url}")
    if running is None:
        return Finding("service", False, NOT_RUNNING)
    return Finding("service", False, f"{url}/readyz does not answer; see the logs in LUTHIER_HOME")
