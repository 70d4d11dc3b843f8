"""Putting an upload's parts together: one pass that joins, hashes, judges and stores."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.db.tables import File
from app.errors import InvalidRequest
from app.files import intake
from app.files.schemas import FileFields
from app.storage import ObjectStore

# Well below the time after which a silent request is taken for a dead one.
HEARTBEAT_INTERVAL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class UploadPartRef:
    """A part, and where its bytes are."""

    part_id: str
    storage_key: str


@dataclass(frozen=True, slots=True)
class AssemblyPlan:
    """A file to be made of parts, in this order. `claim` says on whose behalf."""

    upload_id: str
    project_id: str
    claim: str
    filename: str
    fields: FileFields
    bytes: int
    md5: str | None
    parts: tuple[UploadPartRef, ...]


class ClaimLost(Exception):
    """The upload was cancelled, or another request puts it together."""


def assemble(store: ObjectStore, plan: AssemblyPlan, *, extend_claim: Callable[[], bool]) -> File:
    """Make the file, in constant memory; its row is not yet added. Takes minutes for gigabytes.

    `renew` is called every 10 s and says whether the file is still wanted. Raises Superseded,
    InvalidRequest for a wrong `md5` or an empty file, StorageUnavailable.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with intake.receive_file(store, plan.project_id, max_bytes=plan.bytes) as taken:
        if plan.fields.purpose != intake.TRAINING:
            taken.skip_validation()
        for chunk in _with_heartbeats(_part_chunks(store, plan), extend_claim):
            digest.update(chunk)
            taken.write(chunk)
        _check_md5(plan, digest.hexdigest())
        return intake.build_row(taken, plan.fields, filename=plan.filename)


def _part_chunks(store: ObjectStore, assembly: AssemblyPlan) -> Iterator[bytes]:
    for source in assembly.parts:
        try:
            yield from store.chunks(source.storage_key)
        except FileNotFoundError as error:
            raise InvalidRequest(
                f"The bytes of '{source.part_id}' are not stored any more. Send the part again.",
                param="part_ids",
            ) from error


def _with_heartbeats(chunks: Iterator[bytes], renew: Callable[[], bool]) -> Iterator[bytes]:
    said = time.monotonic()
    for chunk in chunks:
        if time.monotonic() - said > HEARTBEAT_INTERVAL_SECONDS:
            if not renew():
                raise ClaimLost
            said = time.monotonic()
        yield chunk


def _check_md5(assembly: AssemblyPlan, found: str) -> None:
    if assembly.md5 is not None and assembly.md5.lower() != found:
        raise InvalidRequest(
            f"The parts have the MD5 checksum {found} together, not the one that was sent. "
            "Check their order, or send them again.",
            param="md5",
        )
