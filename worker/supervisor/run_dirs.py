"""Run folders: filled from the store before an attempt, swept when their attempt is over."""

import re
import shutil
from pathlib import Path

from app import logs
from app.catalog import Catalog
from app.db.session import SessionMaker, transaction
from app.jobs import file_checks, leases
from app.jobs.file_checks import Problem
from app.jobs.leases import Blob, Claim, Resumable
from app.settings import Settings
from app.storage import BlobStore, inside
from worker.rundir import MANIFEST, RunFolder, RunSpec, read_manifest, sha256

log = logs.get(__name__)

RUN_NAME = re.compile(r"(?P<job_id>ftjob-[A-Za-z0-9]+)-e(?P<epoch>[0-9]+)")
# What a continued training needs of the model it continues.
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
KEPT_LOGS = 20


class Unusable(Exception):
    """The job cannot be trained, and it is not the machine's fault."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Damaged(Exception):
    """The store gave other bytes than were put into it."""


def place(settings: Settings, claim: Claim) -> RunFolder:
    """Where an attempt runs; another attempt at the same job runs elsewhere."""
    return RunFolder(runs(settings) / f"{claim.job_id}-e{claim.epoch}")


def runs(settings: Settings) -> Path:
    return settings.home / "runs"


def fill(
    folder: RunFolder, claim: Claim, *, settings: Settings, store: BlobStore, catalog: Catalog
) -> None:
    """Bring a claimed job's files, and write its spec last.

    Raises Unusable, Damaged, StorageUnavailable, OSError.
    """
    shutil.rmtree(folder.path, ignore_errors=True)
    runs(settings).mkdir(parents=True, exist_ok=True)
    # Users' texts: for nobody else's eyes.
    folder.path.mkdir(mode=0o700)
    folder.checkpoints.mkdir()
    _fetch_data(claim.training, "training", folder.train, store)
    if claim.validation is not None:
        _fetch_data(claim.validation, "validation", folder.valid, store)
    if claim.start_model is not None:
        _fetch_start(claim, folder.init, store)
    _fetch_newest(claim, folder, store)
    folder.write_spec(_spec(claim, settings, catalog))


def _fetch_data(blob: Blob, role: str, path: Path, store: BlobStore) -> None:
    try:
        store.download(blob.key, path)
    except FileNotFoundError as error:
        raise Unusable(file_checks.missing(blob.file_id, role)) from error
    _verify(path, blob.sha256)


def _fetch_start(claim: Claim, folder: Path, store: BlobStore) -> None:
    folder.mkdir()
    try:
        if claim.init_prefix is None:
            raise FileNotFoundError(claim.start_model)
        listed = read_manifest(store.get(inside(claim.init_prefix, MANIFEST)))
        for name in ADAPTER:
            store.download(inside(claim.init_prefix, name), folder / name)
            _verify(folder / name, listed[name].sha256)
    except FileNotFoundError as error:
        message = f"The model {claim.start_model} was deleted before the job could start from it."
        raise Unusable(Problem("model_not_found", message, "model")) from error


def _fetch_newest(claim: Claim, folder: RunFolder, store: BlobStore) -> None:
    for checkpoint in claim.resumable:
        try:
            _fetch_checkpoint(checkpoint, folder, store)
        except (FileNotFoundError, Damaged) as error:
            # The one before it costs some steps again, which is better than the job.
            log.warning("checkpoint.unusable", job=claim.job_id, reason=str(error))
        else:
            return


def _fetch_checkpoint(checkpoint: Resumable, folder: RunFolder, store: BlobStore) -> None:
    aside = folder.path / "resume"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    store.download(inside(checkpoint.prefix, MANIFEST), aside / MANIFEST)
    _verify(aside / MANIFEST, checkpoint.manifest_sha256)
    for name, listed in read_manifest((aside / MANIFEST).read_bytes()).items():
        store.download(inside(checkpoint.prefix, name), aside / name)
        _verify(aside / name, listed.sha256)
    aside.rename(folder.checkpoint(checkpoint.step))


def _verify(path: Path, expected: str) -> None:
    if sha256(path) != expected:
        raise Damaged(f"{path.name} from the store is not what was put there")


def _spec(claim: Claim, settings: Settings, catalog: Catalog) -> RunSpec:
    model = catalog.get(claim.base_model)
    if model is None:
        message = f"The model {claim.base_model} is not in the catalogue any more."
        raise Unusable(Problem("model_not_found", message, "model"))
    return RunSpec(
        job_id=claim.job_id,
        epoch=claim.epoch,
        model=model.to_json(),
        cache=str(settings.home / "cache" / "models"),
        method=claim.method,
        hyperparameters=claim.hyperparameters,
        seed=claim.seed,
        base_model=claim.base_model,
        threads=settings.torch_threads,
        micro_batch=claim.micro_batch,
    )


def keep_log(folder: RunFolder, settings: Settings) -> None:
    """Keep what a failed training process printed, for the operator; the oldest go."""
    kept = settings.home / "failures"
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(folder.log, kept / f"{folder.path.name}.log")
    newest_first = sorted(kept.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[KEPT_LOGS:]:
        path.unlink(missing_ok=True)


def sweep(settings: Settings, sessions: SessionMaker) -> None:
    """Remove what trainers that were killed have left. Raises DatabaseUnavailable."""
    for path in sorted(runs(settings).glob("*")):
        match = RUN_NAME.fullmatch(path.name)
        if match is None:
            continue
        with transaction(sessions) as session:
            held = leases.is_held(session, match["job_id"], int(match["epoch"]))
        if not held:
            log.info("folder.swept", folder=path.name)
            shutil.rmtree(path, ignore_errors=True)
