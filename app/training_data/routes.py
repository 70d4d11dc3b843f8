"""Routes of /v1/files/{file_id} that show what is in a training file; extensions."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.errors import InvalidRequest
from app.http.dependencies import AppStateDep, PrincipalDep
from app.inference.dependencies import EnginesDep
from app.jobs.hyperparameters import MAX_SEQUENCE_LENGTH, MIN_SEQUENCE_LENGTH
from app.training_data import preview, statistics
from app.training_data.dependencies import TrainingDataDep
from app.training_data.preview import RowOptions
from app.training_data.reading import PageCursor
from app.training_data.schemas import FileLeakage, FilePreview, FileStatistics
from app.wire.long_rows import LongRowPolicy
from app.wire.training_rows import SegmentSplit

router = APIRouter(prefix="/v1/files/{file_id}", tags=["files"])

Model = Annotated[str | None, Query(description="The base or fine-tuned model that reads the rows")]
Method = Annotated[
    str | None, Query(description="The method of the job; by default the first for the format")
]
MaxSeqLength = Annotated[int | None, Query(ge=MIN_SEQUENCE_LENGTH, le=MAX_SEQUENCE_LENGTH)]
Cursor = Annotated[
    str | None,
    Query(max_length=64, description="The last_id of the previous page, or the number of a line"),
]


@router.get("/preview")
async def get_preview(
    file_id: str,
    state: AppStateDep,
    principal: PrincipalDep,
    engines: EnginesDep,
    cache: TrainingDataDep,
    model: Model = None,
    method: Method = None,
    max_seq_length: MaxSeqLength = None,
    long_rows: LongRowPolicy | None = None,
    split: SegmentSplit = SegmentSplit.LOSS,
    after: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> FilePreview:
    """A page of a training file's rows, also of an invalid file's; with a model, each as training
    reads it: the tokens that carry loss, and what is cut. An extension."""
    choice = RowOptions(model, method, max_seq_length, long_rows)
    async with cache.slots.slot():
        return await preview.build_preview(
            state,
            engines,
            cache.reasoning,
            principal.project_id,
            file_id,
            choice,
            cursor=PageCursor.parse(after),
            limit=limit,
            split=split,
        )


@router.get("/statistics")
async def get_statistics(
    file_id: str,
    state: AppStateDep,
    principal: PrincipalDep,
    engines: EnginesDep,
    cache: TrainingDataDep,
    model: Model = None,
    method: Method = None,
    max_seq_length: MaxSeqLength = None,
    long_rows: LongRowPolicy | None = None,
) -> FileStatistics:
    """Lengths, labels and equal rows of a training file; with a model, the tokens that it reads of
    the rows, or of 1,000 of a larger file. An extension."""
    choice = RowOptions(model, method, max_seq_length, long_rows)
    project_id = principal.project_id
    async with cache.slots.slot():
        file, base = await preview.find_file(state, project_id, file_id, choice)
        rendering = None
        if base is not None and file.format is not None:
            thinking = await cache.reasoning.find(state, file)
            rendering = preview.choose_rendering(base, file.format, choice, thinking=thinking)
        scan, bytes_read = await cache.scans.get(state, file)
        tokens = None
        if rendering is not None and scan.sample:
            measured = await statistics.measure_rows(engines, project_id, rendering, scan)
            tokens = statistics.describe_tokens(measured)
    return statistics.describe_file(file, scan, bytes_read, tokens)


@router.get("/leakage")
async def get_leakage(
    file_id: str,
    state: AppStateDep,
    principal: PrincipalDep,
    cache: TrainingDataDep,
    training_file: Annotated[
        str | None, Query(description="Required: the file that a model is trained on")
    ] = None,
) -> FileLeakage:
    """Rows of a validation or test file that the training file has too. An extension."""
    no_model = RowOptions(None)
    async with cache.slots.slot():
        file, _ = await preview.find_file(state, principal.project_id, file_id, no_model)
        if training_file is None:
            raise InvalidRequest(
                "Missing required parameter: 'training_file'.",
                param="training_file",
                code="missing_required_parameter",
            )
        training, _ = await preview.find_file(
            state, principal.project_id, training_file, no_model, param="training_file"
        )
        return await statistics.find_leakage(state, file, training)
