"""Cache of base models that were downloaded or converted, and what each was made from."""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from app import logs
from app.catalog import CatalogModel
from app.manifests import MANIFEST_FILE, file_sha256, find_damage
from worker.run_folder import write_manifest

log = logs.get_logger(__name__)

# Written last into a cached model's folder; contains the source that the folder was made from.
READY_FILE = "ready"
# Files of a repository or bucket that are fetched. Python code is never among them.
MODEL_FILE_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


LOCK_POLL_INTERVAL_SECONDS = 0.2
# Time for which the checksum of a file that has not changed is not computed again: that of a small
# model takes a quarter of a second, which each job would wait for, twice.
CHECKSUM_SECONDS = 3600.0
# When a checksum expires by the clock of the machine, and the checksum, by the state of the file.
_checksums: dict[str, tuple[float, str]] = {}


class ModelUnavailable(Exception):
    """The source of a base model is missing or unusable; the message names it and the reason."""


class FetchStopped(Exception):
    """A base model was not fetched, since the caller asked to stop."""


def get_cache_folder(model: CatalogModel, cache: Path) -> Path:
    return cache / model.id.replace("/", "--")


def is_cached(model: CatalogModel, cache: Path) -> bool:
    """True if the cache has the model, made from its present source, and it is not damaged.

    Folders of versions before 0.1.0 have no manifest; they get one of what they contain.
    """
    folder = get_cache_folder(model, cache)
    try:
        source = (folder / READY_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return source == model.source and not _is_damaged(folder, model)


def _is_damaged(folder: Path, model: CatalogModel) -> bool:
    """Compare the files with the checksums that they were made with."""
    try:
        manifest = (folder / MANIFEST_FILE).read_bytes()
    except FileNotFoundError:
        # A training process can only read the cache.
        with suppress(PermissionError):
            write_manifest(folder)
        return False
    damaged = find_damage(folder, manifest, checksum=recall_sha256)
    if damaged is not None:
        log.error("model.damaged", model=model.id, file=damaged)
    return damaged is not None


def recall_sha256(path: Path) -> str:
    """Return a file's SHA-256, computed anew if the file has changed since, or after an hour.

    A forked process recalls what its parent computed, and others what `remember_checksums` is told.
    """
    state = _read_state(path)
    expires_at, checksum = _checksums.get(state, (0.0, ""))
    if time.monotonic() > expires_at:
        checksum = file_sha256(path)
        _checksums[state] = (time.monotonic() + CHECKSUM_SECONDS, checksum)
    return checksum


def _read_state(path: Path) -> str:
    """Read what changes with a file's content: its device, inode, size and times."""
    status = path.stat()
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return ":".join(map(str, (status.st_dev, status.st_ino, status.st_size, *times)))


def list_checksums(folder: Path) -> dict[str, tuple[float, str]]:
    """List the checksums of a folder's files that this process recalls, for another process of this
    machine."""
    states = []
    for path in folder.glob("*"):
        # Another process may be replacing a damaged model.
        with suppress(FileNotFoundError):
            states.append(_read_state(path))
    return {state: _checksums[state] for state in states if state in _checksums}


def remember_checksums(checksums: Mapping[str, tuple[float, str]]) -> None:
    """Recall what the process that starts this one has computed; see `list_checksums`."""
    _checksums.update(checksums)


def is_remembered(path: Path) -> bool:
    """True if `recall_sha256` would not have to read the file."""
    return _checksums.get(_read_state(path), (0.0, ""))[0] >= time.monotonic()


def needs_cache(model: CatalogModel) -> bool:
    """True if the model cannot be loaded from where it is: it is downloaded or converted first."""
    return model.source.startswith(("hf:", "s3:")) or model.source.endswith(".gguf")


def never() -> bool:
    return False


@contextmanager
def populate_once(
    model: CatalogModel, cache: Path, should_stop: Callable[[], bool] = never
) -> Iterator[Path | None]:
    """Yield a folder to fill, which is then renamed into place, or None if the cache has it.

    A file lock makes other processes wait meanwhile. A training process can only read the cache.
    Raises FetchStopped if `should_stop` becomes true while it waits.
    """
    if is_cached(model, cache):
        yield None
        return
    cache.mkdir(parents=True, exist_ok=True)
    target = get_cache_folder(model, cache)
    with (cache / f"{target.name}.lock").open("w") as lock:
        _wait_for(lock, should_stop)
        if is_cached(model, cache):
            yield None
            return
        partial = cache / f".{target.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
        except BaseException:
            # What a stopped or failed download has written would stay on the disk.
            shutil.rmtree(partial, ignore_errors=True)
            raise
        (partial / READY_FILE).write_text(model.source, encoding="utf-8")
        write_manifest(partial)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)


def _wait_for(lock: IO[Any], should_stop: Callable[[], bool]) -> None:
    """Take a lock that another process may hold for as long as it downloads."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if should_stop():
                raise FetchStopped from None
            time.sleep(LOCK_POLL_INTERVAL_SECONDS)
        else:
            return
