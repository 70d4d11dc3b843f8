"""Run folders: filled from the store before an attempt, swept when their attempt is over."""

import re
import shutil
from pathlib import Path

from app import logs
from app.catalog import Catalog
from app.db.session import SessionMaker, transaction
from app.jobs import file_checks, leases
from app.jobs.file_checks import JobFailure
from app.jobs.leases import JobAssignment, ResumePoint, StoredFile
from app.settings import Settings
from app.storage import ObjectStore, join_key
from worker.rundir import MANIFEST_FILE, RunFolder, RunSpec, file_sha256, read_manifest

log = logs.get_logger(__name__)

RUN_DIR_NAME = re.compile(r"(?P<job_id>ftjob-[A-Za-z0-9]+)-e(?P<epoch>[0-9]+)")
# What a continued training needs of the model it continues.
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
MAX_RETAINED_LOGS = 20


class UnusableJob(Exception):
    """The job cannot be trained, and it is not the machine's fault."""

    def __init__(self, problem: JobFailure) -> None:
        super().__init__(problem.message)
        self.failure = problem


class CorruptDownload(Exception):
    """The store gave other bytes than were put into it."""


def run_dir_for(settings: Settings, claim: JobAssignment) -> RunFolder:
    """Where an attempt runs; another attempt at the same job runs elsewhere."""
    return RunFolder(runs_root(settings) / f"{claim.job_id}-e{claim.attempt}")


def runs_root(settings: Settings) -> Path:
    return settings.home / "runs"


def prepare(
    folder: RunFolder,
    claim: JobAssignment,
    *,
    settings: Settings,
    store: ObjectStore,
    catalog: Catalog,
) -> None:
    """Bring a claimed job's files, and write its spec last.

    Raises Unusable, Damaged, StorageUnavailable, OSError.
    """
    shutil.rmtree(folder.path, ignore_errors=True)
    runs_root(settings).mkdir(parents=True, exist_ok=True)
    # Users' texts: for nobody else's eyes.
    folder.path.mkdir(mode=0o700)
    folder.checkpoints.mkdir()
    _fetch_data(claim.training_file, "training", folder.train_file, store)
    if claim.validation_file is not None:
        _fetch_data(claim.validation_file, "validation", folder.valid_file, store)
    if claim.start_model is not None:
        _fetch_start_model(claim, folder.init_adapter, store)
    _fetch_latest_checkpoint(claim, folder, store)
    folder.write_spec(_make_spec(claim, settings, catalog))


def _fetch_data(blob: StoredFile, role: str, path: Path, store: ObjectStore) -> None:
    try:
        store.download(blob.key, path)
    except FileNotFoundError as error:
        raise UnusableJob(file_checks.missing_file_failure(blob.file_id, role)) from error
    _verify_sha256(path, blob.sha256)


def _fetch_start_model(claim: JobAssignment, folder: Path, store: ObjectStore) -> None:
    folder.mkdir()
    try:
        if claim.start_model_prefix is None:
            raise FileNotFoundError(claim.start_model)
        listed = read_manifest(store.get(join_key(claim.start_model_prefix, MANIFEST_FILE)))
        for name in ADAPTER_FILES:
            store.download(join_key(claim.start_model_prefix, name), folder / name)
            _verify_sha256(folder / name, listed[name].sha256)
    except FileNotFoundError as error:
        message = f"The model {claim.start_model} was deleted before the job could start from it."
        raise UnusableJob(JobFailure("model_not_found", message, "model")) from error


def _fetch_latest_checkpoint(claim: JobAssignment, folder: RunFolder, store: ObjectStore) -> None:
    for checkpoint in claim.resume_points:
        try:
            _fetch_checkpoint(checkpoint, folder, store)
        except (FileNotFoundError, CorruptDownload) as error:
            # The one before it costs some steps again, which is better than the job.
            log.warning("checkpoint.unusable", job=claim.job_id, reason=str(error))
        else:
            return


def _fetch_checkpoint(checkpoint: ResumePoint, folder: RunFolder, store: ObjectStore) -> None:
    aside = folder.path / "resume"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    store.download(join_key(checkpoint.prefix, MANIFEST_FILE), aside / MANIFEST_FILE)
    _verify_sha256(aside / MANIFEST_FILE, checkpoint.manifest_sha256)
    for name, listed in read_manifest((aside / MANIFEST_FILE).read_bytes()).items():
        store.download(join_key(checkpoint.prefix, name), aside / name)
        _verify_sha256(aside / name, listed.sha256)
    aside.rename(folder.checkpoint(checkpoint.step))


def _verify_sha256(path: Path, expected: str) -> None:
    if file_sha256(path) != expected:
        raise CorruptDownload(f"{path.name} from the store is not what was put there")


def _make_spec(claim: JobAssignment, settings: Settings, catalog: Catalog) -> RunSpec:
    model = catalog.get(claim.base_model)
    if model is None:
        message = f"The model {claim.base_model} is not in the catalogue any more."
        raise UnusableJob(JobFailure("model_not_found", message, "model"))
    return RunSpec(
        job_id=claim.job_id,
        attempt=claim.attempt,
        model=model.to_json(),
        model_cache=str(settings.home / "cache" / "models"),
        method=claim.method,
        hyperparameters=claim.hyperparameters,
        seed=claim.seed,
        base_model=claim.base_model,
        threads=settings.torch_threads,
        micro_batch=claim.micro_batch,
    )


def retain_log(folder: RunFolder, settings: Settings) -> None:
    """Keep what a failed training process printed, for the operator; the oldest go."""
    kept = settings.home / "failures"
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(folder.log, kept / f"{folder.path.name}.log")
    newest_first = sorted(kept.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[MAX_RETAINED_LOGS:]:
        path.unlink(missing_ok=True)


def remove_stale(settings: Settings, sessions: SessionMaker) -> None:
    """Remove what trainers that were killed have left. Raises DatabaseUnavailable."""
    for path in sorted(runs_root(settings).glob("*")):
        match = RUN_DIR_NAME.fullmatch(path.name)
        if match is None:
            continue
        with transaction(sessions) as session:
            held = leases.is_owner(session, match["job_id"], int(match["epoch"]))
        if not held:
            log.info("folder.swept", folder=path.name)
            shutil.rmtree(path, ignore_errors=True)
