"""Run folders: prepared from object storage before an attempt, removed after it."""

import os
import re
import shutil
from datetime import UTC
from pathlib import Path

from app import logs
from app.catalog import GENERATIVE_METHODS, Catalog, CatalogModel
from app.db.session import SessionMaker, transaction
from app.jobs import file_checks, leases
from app.jobs.failures import JobErrorCode, JobFailure
from app.jobs.leases import JobAssignment, ResumePoint, StoredFile
from app.jobs.test_answers import StoredAnswer
from app.manifests import MANIFEST_FILE, file_sha256, find_damage, read_manifest
from app.settings import Settings
from app.storage import ObjectStore, join_key
from worker.model_cache import get_cache_folder, list_checksums
from worker.run_folder import EvaluatedModel, RunFolder, RunSpec, TestAnswer
from worker.supervisor import compared_adapters, kept_rows

log = logs.get_logger(__name__)

# `-e1` instead of `-attempt-1`: left by a trainer of a version before 0.1.0 that was killed.
RUN_FOLDER_NAME = re.compile(r"(?P<job_id>ftjob-[A-Za-z0-9]+)-(?:attempt-|e)(?P<attempt>[0-9]+)")
# Files of a fine-tuned model that further training starts from.
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
MAX_RETAINED_LOGS = 20


class UnusableJob(Exception):
    """The job cannot be trained on any machine."""

    def __init__(self, failure: JobFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class CorruptDownload(Exception):
    """A downloaded file does not have the checksum it was stored with."""


def get_run_folder(settings: Settings, assignment: JobAssignment) -> RunFolder:
    """Return the run folder of an attempt; each attempt at a job has its own."""
    return RunFolder(
        get_runs_folder(settings) / f"{assignment.job_id}-attempt-{assignment.attempt}"
    )


def get_runs_folder(settings: Settings) -> Path:
    return settings.home / "runs"


def prepare(
    folder: RunFolder,
    assignment: JobAssignment,
    *,
    settings: Settings,
    store: ObjectStore,
    model: CatalogModel,
    model_cache: str | None = None,
) -> None:
    """Download a job's files and write its spec last.

    `model_cache` is the folder of base models as the training process sees it. Raises
    UnusableJob, CorruptDownload, StorageUnavailable, OSError.
    """
    shutil.rmtree(folder.path, ignore_errors=True)
    get_runs_folder(settings).mkdir(parents=True, exist_ok=True)
    # User data: readable by the owner only.
    folder.path.mkdir(mode=0o700)
    folder.checkpoints.mkdir()
    kept_rows.restore(folder, assignment.job_id, settings)
    _fetch_data(assignment.training_file, "training", folder.train_file, store)
    if assignment.validation_file is not None:
        _fetch_data(assignment.validation_file, "validation", folder.valid_file, store)
    if assignment.test_file is not None:
        _fetch_data(assignment.test_file, "test", folder.test_file, store)
        folder.write_test_answers(_to_test_answer(answer) for answer in assignment.test_answers)
    if assignment.start_model is not None:
        _fetch_start_model(assignment, folder.init_adapter, store)
    _fetch_latest_checkpoint(assignment, folder, store)
    folder.write_spec(_make_spec(assignment, settings, model, model_cache))


def _fetch_data(file: StoredFile, role: str, path: Path, store: ObjectStore) -> None:
    try:
        store.download(file.key, path)
    except FileNotFoundError as error:
        raise UnusableJob(file_checks.build_missing_file_failure(file.file_id, role)) from error
    _verify_sha256(path, file.sha256)


def _to_test_answer(answer: StoredAnswer) -> TestAnswer:
    return TestAnswer(
        model=EvaluatedModel(answer.model), row=answer.row, text=answer.text, origin=answer.origin
    )


def _fetch_start_model(assignment: JobAssignment, folder: Path, store: ObjectStore) -> None:
    folder.mkdir()
    try:
        if assignment.start_model_prefix is None:
            raise FileNotFoundError(assignment.start_model)
        manifest = store.get(join_key(assignment.start_model_prefix, MANIFEST_FILE))
        for name in ADAPTER_FILES:
            store.download(join_key(assignment.start_model_prefix, name), folder / name)
        damaged = find_damage(folder, manifest, ADAPTER_FILES)
        if damaged is not None:
            raise CorruptDownload(f"{damaged} of the model to start from is damaged in storage")
    except FileNotFoundError as error:
        message = (
            f"The model {assignment.start_model} was deleted before the job could start from it."
        )
        raise UnusableJob(JobFailure(JobErrorCode.MODEL_NOT_FOUND, message, "model")) from error


def _fetch_latest_checkpoint(
    assignment: JobAssignment, folder: RunFolder, store: ObjectStore
) -> None:
    for checkpoint in assignment.resume_points:
        try:
            _fetch_checkpoint(checkpoint, folder, store)
        except (FileNotFoundError, CorruptDownload) as error:
            # Fall back to the previous checkpoint: repeating steps is better than losing the job.
            log.warning("checkpoint.unusable", job=assignment.job_id, reason=str(error))
        else:
            return


def _fetch_checkpoint(checkpoint: ResumePoint, folder: RunFolder, store: ObjectStore) -> None:
    partial = folder.path / "resume"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    store.download(join_key(checkpoint.prefix, MANIFEST_FILE), partial / MANIFEST_FILE)
    _verify_sha256(partial / MANIFEST_FILE, checkpoint.manifest_sha256)
    for name, entry in read_manifest((partial / MANIFEST_FILE).read_bytes()).items():
        store.download(join_key(checkpoint.prefix, name), partial / name)
        _verify_sha256(partial / name, entry.sha256)
    partial.rename(folder.checkpoint(checkpoint.step))


def _verify_sha256(path: Path, expected: str) -> None:
    if file_sha256(path) != expected:
        raise CorruptDownload(f"{path.name} does not have the checksum it was stored with")


def get_model(assignment: JobAssignment, catalog: Catalog) -> CatalogModel:
    """Get a job's base model. Raises UnusableJob if the catalog does not have it any more."""
    model = catalog.get(assignment.base_model)
    if model is None:
        message = f"The model {assignment.base_model} is no longer in the catalog."
        raise UnusableJob(JobFailure(JobErrorCode.MODEL_NOT_FOUND, message, "model"))
    return model


def get_model_cache(settings: Settings) -> Path:
    return settings.home / "cache" / "models"


def _make_spec(
    assignment: JobAssignment, settings: Settings, model: CatalogModel, model_cache: str | None
) -> RunSpec:
    # The loss of an encoder's row may depend on others of its batch.
    is_generative = assignment.method in GENERATIVE_METHODS
    return RunSpec(
        job_id=assignment.job_id,
        attempt=assignment.attempt,
        model=model.to_json(),
        model_cache=model_cache or str(get_model_cache(settings)),
        method=assignment.method,
        hyperparameters=assignment.hyperparameters,
        seed=assignment.seed,
        base_model=assignment.base_model,
        checksums=list_checksums(get_cache_folder(model, get_model_cache(settings))),
        threads=settings.torch_threads or divide_cores(settings.trainer_concurrency),
        processes=settings.training_processes if is_generative else 1,
        sharded=settings.training_sharded and is_generative,
        deterministic=settings.deterministic_training,
        native_kernels=settings.native_kernels,
        int8=settings.training_int8,
        micro_batch=assignment.micro_batch_size,
        test_metrics=list(assignment.test_metrics),
        rendered_at=assignment.created_at.astimezone(UTC).replace(tzinfo=None).isoformat(),
        compare_with_engine=assignment.compare_with_engine,
        compared=compared_adapters.load(settings),
    )


def divide_cores(jobs: int) -> int:
    """Return the threads of each of `jobs` training processes that run at once.

    The number stays the same while fewer of them run: with another one, sums would be rounded in
    another order, and a resumed job would not get the numbers of an uninterrupted one.
    """
    return max(1, (os.cpu_count() or 1) // jobs)


def retain_log(folder: RunFolder, settings: Settings) -> None:
    """Keep the log of a failed training process for the operator; delete the oldest."""
    failures = settings.home / "failures"
    failures.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(folder.log, failures / f"{folder.path.name}.log")
    newest_first = sorted(
        failures.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    for path in newest_first[MAX_RETAINED_LOGS:]:
        path.unlink(missing_ok=True)


def remove(folder: RunFolder, job_id: str, settings: Settings) -> None:
    """Remove a run folder whose processes have all ended; keep its rows for the job's next attempt.

    `remove_stale` removes the rows if there is none.
    """
    kept_rows.keep(folder, job_id, settings)
    shutil.rmtree(folder.path, ignore_errors=True)


def remove_stale(settings: Settings, sessions: SessionMaker) -> None:
    """Remove run folders that killed trainers left behind, and the rows of jobs that have ended.

    Raises DatabaseUnavailable.
    """
    for path in sorted(get_runs_folder(settings).glob("*")):
        match = RUN_FOLDER_NAME.fullmatch(path.name)
        if match is None:
            continue
        with transaction(sessions) as session:
            is_running = leases.is_owner(session, match["job_id"], int(match["attempt"]))
        if not is_running:
            log.info("run_folder.removed", folder=path.name)
            remove(RunFolder(path), match["job_id"], settings)
    if jobs := kept_rows.list_jobs(settings):
        with transaction(sessions) as session:
            unfinished = leases.list_unfinished(session, jobs)
        kept_rows.remove_all_but(unfinished, settings)
