"""Health probes of the services that the API depends on."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from sqlalchemy import text

from app import logs
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.storage import ObjectStore, StorageMismatch

log = logs.get_logger(__name__)

PROBE_TIMEOUT_SECONDS = 3

# Raises if the dependency cannot be used.
Probe = Callable[[], Awaitable[None]]


async def run_probes(probes: Mapping[str, Probe]) -> dict[str, str | None]:
    """Run all probes concurrently; return a sentence per dependency that cannot be used, else None.

    The sentence omits the reason, which is logged: any client may read the response, and reasons
    contain host names and paths.
    """
    problems = await asyncio.gather(*(_run_probe(name, probe) for name, probe in probes.items()))
    return dict(zip(probes, problems, strict=True))


def check_database(sessions: SessionMaker) -> None:
    """Raise DatabaseUnavailable if the database does not respond."""
    with transaction(sessions) as session:
        session.execute(text("SELECT 1"))


def check_storage(store: ObjectStore) -> None:
    """Raise StorageUnavailable if the storage cannot be used, or is not the database's."""
    # Until the database has been reached once, only it knows the storage's marker.
    with suppress(DatabaseUnavailable):
        store.check()


async def _run_probe(name: str, probe: Probe) -> str | None:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            await probe()
    except TimeoutError:
        log.warning("health.timeout", dependency=name)
        return f"The {name} did not respond within {PROBE_TIMEOUT_SECONDS} s."
    except StorageMismatch as error:
        log.warning("health.problem", dependency=name, reason=str(error))
        return str(error)
    # Any exception means that the dependency cannot be used.
    except Exception as error:
        log.warning("health.problem", dependency=name, reason=repr(error))
        return f"The {name} cannot be used. See the API's log for the reason."
    return None
