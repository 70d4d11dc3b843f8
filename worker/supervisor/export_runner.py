"""Runs the conversions of exports, one at a time beside the trainer's jobs."""

import math
import re
import shutil
import sys
import time
from pathlib import Path

from app import logs
from app.catalog import CatalogModel
from app.db.session import DatabaseUnavailable, transaction
from app.exports import archives, conversions
from app.exports.archive_names import folder_name
from app.exports.conversions import Conversion
from app.manifests import MANIFEST_FILE, find_damage
from app.storage import StorageUnavailable, export_key, join_key
from worker.export_spec import ExportSpec, get_output_folder, write_spec
from worker.run_folder import ExitCode, Failed, RunFolder
from worker.supervisor import base_models, run_folders
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.export_archives import HashingWriter, write_archive
from worker.supervisor.export_lease import ConversionLost, ExportLease
from worker.supervisor.export_room import Room, estimate_room
from worker.supervisor.run_folders import ADAPTER_FILES, CorruptDownload, UnusableJob
from worker.supervisor.sandbox import Sandbox, list_needed_paths, open_sandbox
from worker.supervisor.storage_gate import StorageGate
from worker.supervisor.training_process import TrainingProcess

log = logs.get_logger(__name__)

EXPORT_COMMAND = (sys.executable, "-m", "worker.exporting")
POLL_INTERVAL_SECONDS = 0.2
DOWNLOAD_TIMEOUT_SECONDS = 3600.0
CONVERSION_TIMEOUT_SECONDS = 3600.0
# Until then, archives that gave way may still be on the disk.
DELETION_SECONDS = 60.0
# When memory runs out, the kernel kills a conversion before a training.
OOM_SCORE_ADJ = 900
FOLDER_NAME = re.compile(r"(?P<export_id>export_[A-Za-z0-9]+)-attempt-(?P<attempt>[0-9]+)")


class UnsupportedExport(Exception):
    """The model has no such export; the message is a sentence for the client."""


class ConversionCrashed(Exception):
    """The converting process ended unexpectedly or took too long; its log is kept."""


class NoRoom(Exception):
    """The disk or the memory is too small now; the message is a sentence for the client."""


class MakingRoom(Exception):
    """Other archives are being deleted, so that this one can be stored soon."""


class ExportRunner:
    """Claims and converts exports; one per trainer process."""

    def __init__(self, context: TrainerContext) -> None:
        self._context = context
        self._gate = StorageGate(context.settings, context.store)
        self._made_room_at = -math.inf

    def run_queued(self) -> None:
        """Convert what is queued, one after another.

        Raises DatabaseUnavailable, and StorageUnavailable: what is queued waits for both.
        """
        self._remove_stale_folders()
        while not self._context.stopping.is_set() and self._gate.is_open():
            with transaction(self._context.sessions) as session:
                conversion = conversions.claim(session)
            if conversion is None or not self._run(conversion):
                return

    def _run(self, conversion: Conversion) -> bool:
        """Run one conversion and record how it ended. Return False to end this round."""
        log.info("export.claimed", export=conversion.export_id, format=conversion.format)
        folder = RunFolder(self._folder_path(conversion))
        try:
            with ExportLease(self._context, conversion) as lease:
                self._convert(conversion, folder, lease)
        except (UnsupportedExport, UnusableJob, NoRoom) as error:
            log.info("export.refused", export=conversion.export_id, reason=str(error))
            self._fail(conversion, str(error))
        except MakingRoom as error:
            log.info("export.postponed", export=conversion.export_id, reason=str(error))
            self._release(conversion, has_failed=False)
            return False
        except ConversionLost as error:
            log.info("export.stopped", export=conversion.export_id, reason=str(error))
            self._release(conversion, has_failed=False)
        except StorageUnavailable:
            self._release(conversion, has_failed=False)
            raise
        except DatabaseUnavailable:
            # The lease expires, and the export is claimed again.
            raise
        except Exception:
            log.exception("export.error", export=conversion.export_id)
            self._release(conversion, has_failed=True)
        finally:
            shutil.rmtree(folder.path, ignore_errors=True)
        return True

    def _convert(self, conversion: Conversion, folder: RunFolder, lease: ExportLease) -> None:
        model = self._get_base_model(conversion)
        models = run_folders.get_model_cache(self._context.settings)
        base_models.ensure_cached(
            model,
            models,
            settings=self._context.settings,
            should_stop=lease.is_lost,
            timeout_seconds=DOWNLOAD_TIMEOUT_SECONDS,
        )
        lease.check()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._check_room(estimate_room(conversion.format, model, models))
        with open_sandbox(models, list_needed_paths(EXPORT_COMMAND, model.source)) as sandbox:
            self._prepare(conversion, folder, model, sandbox.model_cache or str(models))
            sandbox.hand_over(folder)
            code = self._wait_for_process(folder, sandbox, lease)
        if code != ExitCode.DONE:
            self._raise_failure(folder, code)
        self._store(conversion, folder, lease)

    def _check_room(self, room: Room) -> None:
        """Raise NoRoom, or MakingRoom if archives that are not in use can give way."""
        context = self._context
        if not room.has_memory(context.host_memory):
            raise NoRoom(conversions.NO_MEMORY)
        missing = room.find_missing_disk(context.settings, context.store)
        if missing == 0:
            return
        if time.monotonic() - self._made_room_at < DELETION_SECONDS:
            raise MakingRoom("Waiting for the deletion of other archives")
        with transaction(context.sessions) as session:
            if not archives.make_room(session, missing):
                raise NoRoom(conversions.NO_DISK)
        self._made_room_at = time.monotonic()
        raise MakingRoom(f"The disk lacks {missing} bytes: others' archives are deleted")

    def _wait_for_process(self, folder: RunFolder, sandbox: Sandbox, lease: ExportLease) -> int:
        """Convert in a process of its own; return its exit code. Raises ConversionLost."""
        deadline = time.monotonic() + CONVERSION_TIMEOUT_SECONDS
        process = TrainingProcess(folder, EXPORT_COMMAND, sandbox, oom_score_adj=OOM_SCORE_ADJ)
        with process:
            while (code := process.poll()) is None:
                lease.check()
                if time.monotonic() > deadline:
                    run_folders.retain_log(folder, self._context.settings)
                    raise ConversionCrashed("The conversion took too long")
                time.sleep(POLL_INTERVAL_SECONDS)
        return code

    def _get_base_model(self, conversion: Conversion) -> CatalogModel:
        model = self._context.catalog.get(conversion.base_model)
        if model is None:
            raise UnsupportedExport(
                f"The model's base {conversion.base_model} is no longer in the catalog."
            )
        return model

    def _prepare(
        self, conversion: Conversion, folder: RunFolder, model: CatalogModel, model_cache: str
    ) -> None:
        """Download the adapter and write the spec. Raises CorruptDownload, StorageUnavailable."""
        shutil.rmtree(folder.path, ignore_errors=True)
        folder.path.mkdir(mode=0o700)
        folder.init_adapter.mkdir()
        get_output_folder(folder).mkdir()
        store, prefix = self._context.store, conversion.storage_prefix
        for name in ADAPTER_FILES:
            store.download(join_key(prefix, name), folder.init_adapter / name)
        manifest = store.get(join_key(prefix, MANIFEST_FILE))
        damaged = find_damage(folder.init_adapter, manifest, ADAPTER_FILES)
        if damaged is not None:
            raise CorruptDownload(f"{damaged} of {conversion.model_name} is damaged in storage")
        write_spec(
            folder,
            ExportSpec(
                model_name=conversion.model_name,
                folder_name=folder_name(conversion.model_name, conversion.format),
                format=conversion.format,
                model=model.to_json(),
                model_cache=model_cache,
                facts=conversion.facts,
                threads=self._context.settings.torch_threads,
            ),
        )

    def _raise_failure(self, folder: RunFolder, code: int) -> None:
        for event, _ in folder.read_events():
            if isinstance(event, Failed) and code == ExitCode.USER_ERROR:
                raise UnsupportedExport(event.message)
        run_folders.retain_log(folder, self._context.settings)
        raise ConversionCrashed(f"The conversion ended with the exit code {code}")

    def _store(self, conversion: Conversion, folder: RunFolder, lease: ExportLease) -> None:
        """Stream the archive into storage and record it. Raises ConversionLost."""
        context = self._context
        key = export_key(conversion.project_id, conversion.export_id, conversion.attempt)
        with context.store.writer(key) as target:
            writer = HashingWriter(target, lease.check)
            name = folder_name(conversion.model_name, conversion.format)
            write_archive(get_output_folder(folder), name, writer)
        with transaction(context.sessions) as session:
            is_recorded = conversions.finish(
                session,
                conversion.export_id,
                conversion.attempt,
                key=key,
                size=writer.size,
                sha256=writer.sha256,
                max_project_bytes=context.settings.max_export_bytes_per_project,
            )
            if not is_recorded:
                archives.enqueue_deletion(session, key)
        log.info("export.stored", export=conversion.export_id, bytes=writer.size)

    def _fail(self, conversion: Conversion, message: str) -> None:
        with transaction(self._context.sessions) as session:
            conversions.fail(session, conversion.export_id, conversion.attempt, message)

    def _release(self, conversion: Conversion, *, has_failed: bool) -> None:
        with transaction(self._context.sessions) as session:
            conversions.release(
                session, conversion.export_id, conversion.attempt, has_failed=has_failed
            )

    def _folder_path(self, conversion: Conversion) -> Path:
        return self._folder / f"{conversion.export_id}-attempt-{conversion.attempt}"

    @property
    def _folder(self) -> Path:
        return self._context.settings.home / "exports"

    def _remove_stale_folders(self) -> None:
        """Remove the folders that killed trainers left behind. Raises DatabaseUnavailable."""
        for path in sorted(self._folder.glob("*")):
            match = FOLDER_NAME.fullmatch(path.name)
            if match is None:
                continue
            with transaction(self._context.sessions) as session:
                is_running = conversions.is_owner(
                    session, match["export_id"], int(match["attempt"])
                )
            if not is_running:
                log.info("export_folder.removed", folder=path.name)
                shutil.rmtree(path, ignore_errors=True)
