"""Assembly of an upload's parts into a file: one pass that joins, hashes, validates and stores."""

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from app.db.tables import File, FilePurpose
from app.errors import InvalidRequest
from app.files import intake
from app.files.room import check_disk
from app.http.dependencies import AppState

# Well below a claim's timeout.
HEARTBEAT_INTERVAL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class UploadPartRef:
    """A part and the key of its content."""

    part_id: str
    storage_key: str


@dataclass(frozen=True, slots=True)
class AssemblyPlan:
    """A file to assemble from parts, in this order. `claim` is the fencing token of the request
    that assembles it."""

    upload_id: str
    project_id: str
    claim: str
    filename: str
    purpose: FilePurpose
    expires_after_seconds: int | None
    bytes: int
    md5: str | None
    parts: tuple[UploadPartRef, ...]


class ClaimLost(Exception):
    """The upload was cancelled, or another request has claimed it."""


async def assemble(
    state: AppState, plan: AssemblyPlan, *, extend_claim: Callable[[], Awaitable[bool]]
) -> File:
    """Assemble the file in constant memory; return its row, not yet added. May take minutes.

    `extend_claim` is called every 10 s and returns whether the claim is still held. Raises
    ClaimLost, InvalidRequest for a wrong `md5` or an empty file, StorageUnavailable,
    InsufficientStorage, CpuPoolError.
    """
    digest = hashlib.md5(usedforsecurity=False)
    async with intake.receive_file(
        # Within the quota already: the parts are deleted in the transaction that adds the file.
        state,
        plan.project_id,
        max_bytes=plan.bytes,
        check_room=lambda _size: check_disk(state.settings, state.store),
    ) as incoming:
        if plan.purpose != FilePurpose.FINE_TUNE:
            incoming.skip_validation()

        def consume(chunk: bytes) -> None:
            digest.update(chunk)
            incoming.write(chunk)

        async for chunk in _add_heartbeats(_read_parts(state, plan), extend_claim):
            await incoming.consume(consume, chunk)
        _check_md5(plan, digest.hexdigest())
        return await intake.build_row(
            incoming,
            filename=plan.filename,
            purpose=plan.purpose,
            expires_after_seconds=plan.expires_after_seconds,
        )


async def _read_parts(state: AppState, plan: AssemblyPlan) -> AsyncIterator[bytes]:
    for part in plan.parts:
        try:
            chunks = await state.transfer_threads.run(state.store.chunks, part.storage_key)
            while (chunk := await state.transfer_threads.run(next, chunks, None)) is not None:
                yield chunk
        except FileNotFoundError as error:
            raise InvalidRequest(
                f"The content of '{part.part_id}' is no longer stored. Send the part again.",
                param="part_ids",
            ) from error


async def _add_heartbeats(
    chunks: AsyncIterator[bytes], extend_claim: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    last_heartbeat = time.monotonic()
    async for chunk in chunks:
        if time.monotonic() - last_heartbeat > HEARTBEAT_INTERVAL_SECONDS:
            if not await extend_claim():
                raise ClaimLost
            last_heartbeat = time.monotonic()
        yield chunk


def _check_md5(plan: AssemblyPlan, actual: str) -> None:
    if plan.md5 is not None and plan.md5.lower() != actual:
        raise InvalidRequest(
            f"The MD5 checksum of the parts is {actual}, not the one that was sent. "
            "Check their order, or send them again.",
            param="md5",
        )
