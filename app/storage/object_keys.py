"""The key of every kind of blob. No key is put together anywhere else."""

import re

# One part of a key. A leading dot is refused, and with it `.` and `..`; LocalStore keeps its
# unfinished files under such a name, where no key can reach them.
KEY_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
MAX_KEY_LENGTH = 1024


class UnsafeKey(ValueError):
    """A key or a part of one that could leave the store's root or mean another object."""


def file_key(project_id: str, file_id: str) -> str:
    """The bytes of an uploaded file or of a result file."""
    return validate_key(f"projects/{_validate_part(project_id)}/files/{_validate_part(file_id)}")


def upload_part_key(project_id: str, upload_id: str, part_id: str) -> str:
    """The bytes of one part of an upload that has not ended."""
    return validate_key(
        f"projects/{_validate_part(project_id)}/uploads/{_validate_part(upload_id)}/{_validate_part(part_id)}"
    )


def job_prefix(project_id: str, job_id: str) -> str:
    """All that the attempts of one job stored."""
    return validate_key(f"projects/{_validate_part(project_id)}/jobs/{_validate_part(job_id)}")


def attempt_prefix(project_id: str, job_id: str, attempt: int) -> str:
    """All that one attempt at a job stored."""
    return validate_key(f"{job_prefix(project_id, job_id)}/e{attempt}")


def checkpoint_prefix(project_id: str, job_id: str, attempt: int, step: int) -> str:
    """The files of one checkpoint, adapter included.

    The epoch is in it so that an attempt that lost its lease writes beside its successor,
    never over it.
    """
    return validate_key(f"{attempt_prefix(project_id, job_id, attempt)}/step-{step}")


def join_key(prefix: str, name: str) -> str:
    """The key of the file called `name` below a prefix made here."""
    return validate_key(f"{prefix}/{_validate_part(name)}")


def validate_key(key: str) -> str:
    """`key` itself. Raises UnsafeKey if it is not parts joined by single slashes."""
    if len(key) > MAX_KEY_LENGTH or not all(KEY_PART.fullmatch(part) for part in key.split("/")):
        raise UnsafeKey(f"{key[:MAX_KEY_LENGTH]!r} is no storage key")
    return key


def validate_prefix(prefix: str) -> str:
    """`prefix` itself, which may also be empty or end within a part or with a slash."""
    folder, _, last = prefix.rpartition("/")
    for part in (folder, last):
        if part:
            validate_key(part)
    if prefix.startswith("/"):
        raise UnsafeKey(f"{prefix[:MAX_KEY_LENGTH]!r} is no prefix of storage keys")
    return prefix


def _validate_part(text: str) -> str:
    """`text` itself. An id with a slash in it could name what belongs to another project."""
    if not KEY_PART.fullmatch(text):
        raise UnsafeKey(f"{text[:MAX_KEY_LENGTH]!r} is no part of a storage key")
    return text
