"""Whether the parts that the service stands on can be used just now."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from sqlalchemy import text

from app import logs
from app.db.session import SessionMaker, transaction

log = logs.get_logger(__name__)

# A probe that takes longer has failed: whoever asks wants to know now.
PROBE_TIMEOUT_SECONDS = 3

Probe = Callable[[], Awaitable[None]]


async def run_probes(probes: Mapping[str, Probe]) -> dict[str, str | None]:
    """For each part, a sentence if it cannot be used. All are asked at once.

    The reason is for the log: this is told to anybody, and reasons name hosts and folders.
    """
    told = await asyncio.gather(*(_run_probe(name, probe) for name, probe in probes.items()))
    return dict(zip(probes, told, strict=True))


def check_database(sessions: SessionMaker) -> None:
    """Raises DatabaseUnavailable unless the database answers."""
    with transaction(sessions) as session:
        session.execute(text("SELECT 1"))


async def _run_probe(name: str, probe: Probe) -> str | None:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            await probe()
    except TimeoutError:
        log.warning("health.timeout", part=name)
        return f"The {name} has not answered for {PROBE_TIMEOUT_SECONDS} s."
    # Whatever a part raises means that it cannot be used.
    except Exception as error:
        log.warning("health.problem", part=name, reason=repr(error))
        return f"The {name} cannot be used. The log of the API says why."
    return None
