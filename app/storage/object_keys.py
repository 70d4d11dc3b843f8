"""The keys of all stored objects. No key is built anywhere else."""

import re

# One part of a key. A leading dot is rejected, and with it `.` and `..`; LocalStore keeps its
# unfinished files under such a name, where no key can reach them.
KEY_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
MAX_KEY_LENGTH = 1024


class UnsafeKey(ValueError):
    """A key, or a part of one, that could escape the store's root or name another object."""


def file_key(project_id: str, file_id: str) -> str:
    """Key of an uploaded file or a result file."""
    return validate_key(f"projects/{_validate_part(project_id)}/files/{_validate_part(file_id)}")


def upload_prefix(project_id: str, upload_id: str) -> str:
    """Prefix of the parts of one upload."""
    return validate_key(
        f"projects/{_validate_part(project_id)}/uploads/{_validate_part(upload_id)}"
    )


def upload_part_key(project_id: str, upload_id: str, part_id: str) -> str:
    """Key of one part of an unfinished upload."""
    return validate_key(f"{upload_prefix(project_id, upload_id)}/{_validate_part(part_id)}")


def job_prefix(project_id: str, job_id: str) -> str:
    """Prefix of everything that a job's attempts stored."""
    return validate_key(f"projects/{_validate_part(project_id)}/jobs/{_validate_part(job_id)}")


def attempt_prefix(project_id: str, job_id: str, attempt: int) -> str:
    """Prefix of everything that one attempt at a job stored."""
    return validate_key(f"{job_prefix(project_id, job_id)}/attempt-{attempt}")


def checkpoint_prefix(project_id: str, job_id: str, attempt: int, step: int) -> str:
    """Prefix of the files of one checkpoint, adapter included.

    It contains the attempt (the fencing token), so an attempt that lost its lease can never
    overwrite its successor's files.
    """
    return validate_key(f"{attempt_prefix(project_id, job_id, attempt)}/step-{step}")


def export_key(project_id: str, export_id: str, attempt: int) -> str:
    """Key of the archive that one attempt at a model's export made."""
    name = f"{_validate_part(export_id)}-attempt-{attempt}"
    return validate_key(f"projects/{_validate_part(project_id)}/exports/{name}")


def work_part_key(project_id: str, list_id: str, first_index: int, attempt: str) -> str:
    """Key of the results of one range of a list, as one attempt stored them."""
    name = f"{first_index}-{_validate_part(attempt)}"
    return validate_key(
        f"projects/{_validate_part(project_id)}/work/{_validate_part(list_id)}/{name}"
    )


def join_key(prefix: str, name: str) -> str:
    """Key of the file `name` under a prefix built here."""
    return validate_key(f"{prefix}/{_validate_part(name)}")


def validate_key(key: str) -> str:
    """Return `key`. Raises UnsafeKey unless it is parts joined by single slashes."""
    if len(key) > MAX_KEY_LENGTH or not all(KEY_PART.fullmatch(part) for part in key.split("/")):
        raise UnsafeKey(f"{key[:MAX_KEY_LENGTH]!r} is not a valid storage key")
    return key


def validate_prefix(prefix: str) -> str:
    """Return `prefix`, which may be empty or end within a part or with a slash.

    Raises UnsafeKey.
    """
    directory, _, last = prefix.rpartition("/")
    for part in (directory, last):
        if part:
            validate_key(part)
    if prefix.startswith("/"):
        raise UnsafeKey(f"{prefix[:MAX_KEY_LENGTH]!r} is not a valid prefix of storage keys")
    return prefix


def _validate_part(text: str) -> str:
    """Return `text`. An id with a slash in it could name another project's object."""
    if not KEY_PART.fullmatch(text):
        raise UnsafeKey(f"{text[:MAX_KEY_LENGTH]!r} is not a valid part of a storage key")
    return text
