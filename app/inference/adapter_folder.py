"""Folder of adapters that an engine of another kind reads: fetched from storage, verified, bounded.

Each adapter lies in a folder of its own, named by a digest of where it is stored, which no client
can choose. It is written beside its place and renamed, so an engine never sees half of one. While
an adapter is in use, a shared lock on its config keeps every process from removing it.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app import logs
from app.folder_usage import folder_bytes, last_used_at
from app.manifests import MANIFEST_FILE, find_damage, read_manifest
from app.storage import ObjectStore, join_key

CONFIG_FILE = "adapter_config.json"
ADAPTER_FILES = (CONFIG_FILE, "adapter_model.safetensors")
# A partial download older than this was left by a process that was killed.
LEFTOVER_AGE_SECONDS = 3600.0
# Time for which an adapter that is damaged in storage is not downloaded again.
DAMAGE_MEMORY_SECONDS = 60.0
MAX_REMEMBERED_DAMAGES = 1000
# Of downloads for one request: the adapter may be removed before it can be locked.
MAX_DOWNLOADS = 3
# In the folder of an adapter that is removed when the last request that uses it ends.
DISCARDED_FILE = "discarded"

log = logs.get_logger(__name__)


class DamagedAdapter(Exception):
    """The stored files of an adapter do not have the checksums that they were stored with."""


class NoRoom(Exception):
    """The adapters in use, and this one, do not fit into the folder's limit."""


@dataclass(frozen=True, slots=True)
class AdapterLease:
    """An adapter that stays in the folder until the lease is released."""

    folder: Path
    _locked: IO[bytes]

    def release(self) -> None:
        self._locked.close()
        _remove_if_discarded(self.folder)


class AdapterFolder:
    """Adapters on disk, beyond `max_bytes` without those that were used the longest ago.

    Thread-safe; several processes may share the folder.
    """

    def __init__(self, store: ObjectStore, folder: Path, *, max_bytes: int) -> None:
        self._store = store
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        # When an adapter was found damaged in storage, by the monotonic clock.
        self._damaged_at: dict[str, float] = {}

    def lease(self, prefix: str) -> AdapterLease:
        """Return the adapter stored under `prefix`, in use until it is released.

        Raises FileNotFoundError, UnsafeKey, StorageUnavailable, DamagedAdapter, NoRoom, and
        OSError if the folder cannot be written to.
        """
        folder = self._path(prefix)
        for num_downloads in range(MAX_DOWNLOADS + 1):
            lease = _lock_existing(folder)
            if lease is not None:
                # An older time only has it removed sooner.
                with suppress(OSError):
                    os.utime(folder)
                return lease
            if num_downloads < MAX_DOWNLOADS:
                self._download_verified(prefix, folder)
        raise OSError(errno.EAGAIN, "the adapter is removed whenever it is fetched", str(folder))

    def discard(self, prefix: str) -> bool:
        """Remove an adapter, or have the last request that uses it do so; True if it is gone."""
        folder = self._path(prefix)
        if _remove_unused(folder):
            return True
        with suppress(FileNotFoundError):
            (folder / DISCARDED_FILE).touch()
        # The last request may have ended before it could see the mark.
        return _remove_unused(folder)

    def remember_damage(self, prefix: str) -> None:
        """Do not fetch an adapter again for a while: it is damaged in storage."""
        while len(self._damaged_at) >= MAX_REMEMBERED_DAMAGES:
            self._damaged_at.pop(next(iter(self._damaged_at)))
        self._damaged_at[prefix] = time.monotonic()

    def _path(self, prefix: str) -> Path:
        return self._folder / adapter_name(prefix)

    def _download_verified(self, prefix: str, folder: Path) -> None:
        """Download an adapter; if it arrives damaged, once more."""
        damaged_at = self._damaged_at.get(prefix)
        if damaged_at is not None and time.monotonic() - damaged_at < DAMAGE_MEMORY_SECONDS:
            raise DamagedAdapter(f"{prefix} is damaged")
        for _ in range(2):
            damaged = self._download(prefix, folder)
            if damaged is None:
                self._damaged_at.pop(prefix, None)
                return
            log.error("storage.damaged", object=f"{prefix}/{damaged}")
        self.remember_damage(prefix)
        raise DamagedAdapter(f"{prefix}/{damaged} is damaged")

    def _download(self, prefix: str, folder: Path) -> str | None:
        """Download an adapter into place, unless it is damaged; returns the damaged file, if any.

        Adapters without a manifest, which other tools stored, are not verified.
        """
        manifest = self._read_manifest(prefix)
        self._make_room(manifest)
        temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
        temporary.mkdir(parents=True)
        try:
            for name in ADAPTER_FILES:
                self._store.download(join_key(prefix, name), temporary / name)
            if manifest is not None:
                damaged = find_damage(temporary, manifest, ADAPTER_FILES)
                if damaged is not None:
                    return damaged
                (temporary / MANIFEST_FILE).write_bytes(manifest)
            self._copy_permissions(temporary)
            _sync(temporary)
            _rename_into_place(temporary, folder)
            return None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _read_manifest(self, prefix: str) -> bytes | None:
        try:
            return self._store.get(join_key(prefix, MANIFEST_FILE))
        except FileNotFoundError:
            log.warning("adapter.without_manifest", adapter=prefix)
            return None

    def _copy_permissions(self, folder: Path) -> None:
        """Let those read an adapter who may read the folder of all: an engine may be another user.

        Storage writes files for their owner only.
        """
        mode = self._folder.stat().st_mode
        for path in folder.iterdir():
            path.chmod(mode & 0o644 | 0o600)
        folder.chmod(mode & 0o755 | 0o700)

    def _make_room(self, manifest: bytes | None) -> None:
        """Remove unused adapters until one more fits. Raises NoRoom."""
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            for folder in self._adapters():
                _remove_if_discarded(folder)
            needed = _adapter_bytes(manifest)
            sizes = {folder: folder_bytes(folder) for folder in self._adapters()}
            total = sum(sizes.values()) + needed
            for folder in sorted(sizes, key=last_used_at):
                if total <= self._max_bytes:
                    return
                if _remove_unused(folder):
                    total -= sizes[folder]
            if total > self._max_bytes:
                raise NoRoom(f"{needed} bytes do not fit into {self._folder}")

    def _adapters(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if not path.name.startswith(".")]

    def _remove_leftovers(self) -> None:
        """Remove partial downloads and partial removals of killed processes."""
        for leftover in self._folder.glob(".*"):
            if time.time() - last_used_at(leftover) > LEFTOVER_AGE_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)


def check_copy(folder: Path) -> None:
    """Raise DamagedAdapter if the files of an adapter are not as they were fetched, or OSError.

    Reads all of them. Copies without a manifest are not checked: other tools stored these adapters.
    """
    with suppress(FileNotFoundError):
        damaged = find_damage(folder, (folder / MANIFEST_FILE).read_bytes(), ADAPTER_FILES)
        if damaged is not None:
            raise DamagedAdapter(f"{folder.name}/{damaged} was changed on the disk")


def adapter_name(prefix: str) -> str:
    """Name of a stored adapter, at engines and of its folder: the same name, the same weights.

    It has only characters that no engine or file system reads as more than a name, is no base
    model's, and cannot be guessed, since a prefix contains random ids.
    """
    return f"luthier-{hashlib.sha256(prefix.encode()).hexdigest()[:32]}"


def _lock_existing(folder: Path) -> AdapterLease | None:
    """Lock an adapter for use; None if it is not there."""
    config = folder / CONFIG_FILE
    with suppress(FileNotFoundError):
        # Writable, since NFS locks nothing else; kept open as long as the lease.
        file = config.open("r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
            # It may have been removed, or replaced, before it was locked.
            if os.fstat(file.fileno()).st_ino == config.stat().st_ino:
                return AdapterLease(folder, file)
        except BaseException:
            file.close()
            raise
        file.close()
    return None


def _rename_into_place(temporary: Path, folder: Path) -> None:
    """Rename an adapter, unless another process was faster, whose copy is then used."""
    try:
        temporary.rename(folder)
    except OSError:
        if (folder / CONFIG_FILE).exists():
            return
        # What another program left of an adapter, or put there.
        aside = folder.with_name(f"{temporary.name}.aside")
        with suppress(FileNotFoundError):
            folder.rename(aside)
        temporary.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Write the files through to the disk: a copy that is there after a power loss is whole."""
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_if_discarded(folder: Path) -> None:
    """Remove an adapter that was discarded while requests used it, if none does any more."""
    try:
        if (folder / DISCARDED_FILE).exists():
            _remove_unused(folder)
    except OSError as error:
        log.warning("adapter.not_removed", folder=str(folder), reason=repr(error))


def _remove_unused(folder: Path) -> bool:
    """Remove an adapter unless it is in use; True if it is not there any more."""
    try:
        with (folder / CONFIG_FILE).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_ino != (folder / CONFIG_FILE).stat().st_ino:
                # Another process removed it, and a new copy may be in use.
                return False
            temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
            folder.rename(temporary)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        shutil.rmtree(folder, ignore_errors=True)
        return True
    shutil.rmtree(temporary, ignore_errors=True)
    return True


def _adapter_bytes(manifest: bytes | None) -> int:
    """Bytes of an adapter's files; 0 if its manifest cannot be read, which the download finds."""
    if manifest is None:
        return 0
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        entries = read_manifest(manifest)
        return sum(entries[name].bytes for name in ADAPTER_FILES)
    return 0
