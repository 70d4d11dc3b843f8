"""Rendered rows of unfinished jobs, kept on this machine from one attempt to the next.

They are in a folder per job, which no other job's training process can read, and move into the run
folder of the job's next attempt. They are removed when the job has ended, after a week, or when all
of them together take too much of the disk: the least recently kept ones first.
"""

import os
import shutil
import stat
import time
from collections.abc import Collection
from pathlib import Path

from app import logs
from app.settings import Settings
from worker.run_folder import RunFolder, UnsafeFile

log = logs.get_logger(__name__)

# Names that training gives to the rows of the job's files.
FILES = ("training_file.safetensors", "validation_file.safetensors")
# Bound of the rows of all jobs together, and as a share of the disk.
MAX_BYTES = 8 * 2**30
MAX_DISK_SHARE = 0.05
MAX_AGE_SECONDS = 7 * 24 * 3600.0


def get_rows_folder(settings: Settings) -> Path:
    return settings.home / "cache" / "rows"


def restore(folder: RunFolder, job_id: str, settings: Settings) -> None:
    """Move the rows of a job's earlier attempt, if there are any, into its run folder."""
    try:
        (get_rows_folder(settings) / job_id).rename(folder.rows)
    except FileNotFoundError:
        folder.rows.mkdir()


def keep(folder: RunFolder, job_id: str, settings: Settings) -> None:
    """Move the rows out of the run folder of an attempt whose processes have all ended."""
    root = get_rows_folder(settings)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in FILES:
            path = folder.rows / name
            if path.is_symlink() or path.exists():
                _take_over(path)
                (root / job_id).mkdir(mode=0o700, exist_ok=True)
                path.replace(root / job_id / name)
        _evict(root)
    except (OSError, UnsafeFile) as error:
        log.warning("kept_rows.not_kept", job=job_id, reason=str(error))


def _take_over(path: Path) -> None:
    """Make a file that a training process wrote the trainer's own. Raises UnsafeFile, OSError.

    It could be a link to a file that only the trainer can read, whose owner would change when it
    is handed over to the job's next attempt.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise UnsafeFile(f"{path.name!r} is not a regular file of its own")
        os.fchown(descriptor, os.geteuid(), os.getegid())
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def list_jobs(settings: Settings) -> list[str]:
    """List the jobs whose rows are kept."""
    root = get_rows_folder(settings)
    return sorted(path.name for path in root.iterdir()) if root.exists() else []


def remove_all_but(unfinished: Collection[str], settings: Settings) -> None:
    """Remove the rows of jobs that have ended, and those that were kept too long ago."""
    for job_id in list_jobs(settings):
        folder = get_rows_folder(settings) / job_id
        if job_id not in unfinished or _is_old(folder):
            log.info("kept_rows.removed", job=job_id)
            shutil.rmtree(folder, ignore_errors=True)


def _is_old(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime > MAX_AGE_SECONDS
    except FileNotFoundError:
        return False


def _evict(root: Path) -> None:
    """Remove the least recently kept rows beyond the bounds."""
    limit = min(MAX_BYTES, MAX_DISK_SHARE * shutil.disk_usage(root).total)
    newest_first = sorted(root.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for folder in newest_first:
        size = sum(path.stat().st_size for path in folder.iterdir())
        if total + size > limit:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            total += size
