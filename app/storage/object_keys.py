"""The key of every kind of blob. No key is put together anywhere else."""

import re

# One part of a key. A leading dot is refused, and with it `.` and `..`; LocalStore keeps its
# unfinished files under such a name, where no key can reach them.
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
LONGEST = 1024


class UnsafeKey(ValueError):
    """A key or a part of one that could leave the store's root or mean another object."""


def file_key(project_id: str, file_id: str) -> str:
    """The bytes of an uploaded file or of a result file."""
    return checked(f"projects/{_part(project_id)}/files/{_part(file_id)}")


def part_key(project_id: str, upload_id: str, part_id: str) -> str:
    """The bytes of one part of an upload that has not ended."""
    return checked(f"projects/{_part(project_id)}/uploads/{_part(upload_id)}/{_part(part_id)}")


def job_prefix(project_id: str, job_id: str) -> str:
    """All that the attempts of one job stored."""
    return checked(f"projects/{_part(project_id)}/jobs/{_part(job_id)}")


def attempt_prefix(project_id: str, job_id: str, epoch: int) -> str:
    """All that one attempt at a job stored."""
    return checked(f"{job_prefix(project_id, job_id)}/e{epoch}")


def checkpoint_prefix(project_id: str, job_id: str, epoch: int, step: int) -> str:
    """The files of one checkpoint, adapter included.

    The epoch is in it so that an attempt that lost its lease writes beside its successor,
    never over it.
    """
    return checked(f"{attempt_prefix(project_id, job_id, epoch)}/step-{step}")


def inside(prefix: str, name: str) -> str:
    """The key of the file called `name` below a prefix made here."""
    return checked(f"{prefix}/{_part(name)}")


def checked(key: str) -> str:
    """`key` itself. Raises UnsafeKey if it is not parts joined by single slashes."""
    if len(key) > LONGEST or not all(PART.fullmatch(part) for part in key.split("/")):
        raise UnsafeKey(f"{key[:LONGEST]!r} is no storage key")
    return key


def checked_prefix(prefix: str) -> str:
    """`prefix` itself, which may also be empty or end within a part or with a slash."""
    folder, _, last = prefix.rpartition("/")
    for part in (folder, last):
        if part:
            checked(part)
    if prefix.startswith("/"):
        raise UnsafeKey(f"{prefix[:LONGEST]!r} is no prefix of storage keys")
    return prefix


def _part(text: str) -> str:
    """`text` itself. An id with a slash in it could name what belongs to another project."""
    if not PART.fullmatch(text):
        raise UnsafeKey(f"{text[:LONGEST]!r} is no part of a storage key")
    return text
