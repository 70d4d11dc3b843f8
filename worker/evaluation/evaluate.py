"""Evaluation of a chat job: both models answer the test file's rows, and are compared.

Each answer is an event, which the supervisor stores: an interrupted evaluation continues with the
rows that have none from the same weights and prompts. The weights are those of the last checkpoint,
which are the chosen ones.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.catalog import CatalogModel
from app.logs import get_logger
from app.manifests import MANIFEST_FILE, read_manifest
from worker.evaluation.generate import generate
from worker.evaluation.test_rows import TestRow, TestRows, read_test_rows
from worker.evaluation.text_metrics import compute_metrics
from worker.inference.adapter_format import read_rendering_options
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.loaded_model import LoadedModel, load_model
from worker.modeling import ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE
from worker.run_folder import Evaluated, EvaluatedModel, ExitCode, Preparing, RunFolder, TestAnswer
from worker.training.environment import StopSignal

# The supervisor kills a process that writes no events as hung.
PROGRESS_INTERVAL_SECONDS = 10.0
ADAPTER_FILES = (ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE)

log = get_logger(__name__)


def evaluate(folder: RunFolder, stop: StopSignal) -> ExitCode:
    """Answer all rows that have no answer yet, then report the metrics of both models."""
    spec = folder.read_spec()
    model = load_model(
        CatalogModel.from_json(spec.model),
        Path(spec.model_cache),
        native_kernels=spec.native_kernels,
    )
    adapter = AdapterFiles("trained", folder.checkpoint(folder.list_checkpoint_steps()[0]))
    renderer = model.renderer.with_options(read_rendering_options(adapter.folder))
    rows = read_test_rows(folder.test_file, renderer)
    answers: dict[EvaluatedModel, dict[int, str]] = {}
    for name in EvaluatedModel:
        weights = adapter if name is EvaluatedModel.TUNED else None
        origin = compute_origin(spec.model, weights, rows)
        known = folder.read_test_answers(name, origin)
        answers[name] = {answer.row: answer.text for answer in known}
        if not _answer_rows(folder, stop, model, rows, name, weights, answers[name], origin):
            return ExitCode.YIELDED
    folder.append_event(Evaluated(report=build_report(rows, answers, spec.test_metrics)))
    return ExitCode.DONE


def compute_origin(model: dict[str, Any], adapter: AdapterFiles | None, rows: TestRows) -> str:
    """Compute a digest of all that answers follow from: the base model, the adapter, the prompts.

    A job that began again, since its rows are rendered otherwise, has other weights and prompts.
    """
    weights = None
    if adapter is not None:
        manifest = read_manifest((adapter.folder / MANIFEST_FILE).read_bytes())
        weights = [manifest[name].sha256 for name in ADAPTER_FILES]
    prompts = [(row.number, row.prompt, row.max_new_tokens) for row in rows.rows]
    parts = json.dumps([model, weights, prompts], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


def _answer_rows(
    folder: RunFolder,
    stop: StopSignal,
    model: LoadedModel,
    rows: TestRows,
    name: EvaluatedModel,
    adapter: AdapterFiles | None,
    answers: dict[int, str],
    origin: str,
) -> bool:
    """Add the model's missing answers; return False if a stop was requested."""
    missing = [row for row in rows.rows if row.number not in answers]
    reported_at = time.monotonic()
    for done in generate(model, missing, adapter):
        if done is not None:
            row, text = done
            answers[row.number] = text
            answer = TestAnswer(model=name, row=row.number, text=text, origin=origin)
            folder.append_event(answer)
            reported_at = time.monotonic()
        elif stop:
            return False
        elif time.monotonic() - reported_at > PROGRESS_INTERVAL_SECONDS:
            reported_at = time.monotonic()
            folder.append_event(Preparing(done=len(answers), total=len(rows.rows)))
    return True


def build_report(
    rows: TestRows, answers: Mapping[EvaluatedModel, Mapping[int, str]], requested: list[str]
) -> dict[str, Any]:
    """Build the report: counts, the metrics of each model, and all pairs they are computed from."""
    references = [row.reference for row in rows.rows]
    metrics = {
        name.value: compute_metrics(
            [answers[name][row.number] for row in rows.rows], references, requested
        )
        for name in EvaluatedModel
    }
    return {
        "rows": rows.total,
        "measured_rows": len(rows.rows),
        "skipped_rows": rows.skipped,
        **metrics,
        "answers": [_describe(row, answers) for row in rows.rows],
    }


def _describe(row: TestRow, answers: Mapping[EvaluatedModel, Mapping[int, str]]) -> dict[str, Any]:
    texts = {name.value: answers[name][row.number] for name in EvaluatedModel}
    return {"row": row.number, "reference": row.reference, **texts}
