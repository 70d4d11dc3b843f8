"""Routes of /v1/files/{file_id} that show what is in a training file; extensions."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.http.dependencies import AppStateDep, PrincipalDep
from app.inference.dependencies import EnginesDep
from app.jobs.hyperparameters import MAX_SEQUENCE_LENGTH, MIN_SEQUENCE_LENGTH
from app.training_data import preview
from app.training_data.dependencies import ReasoningFinderDep
from app.training_data.preview import ModelChoice
from app.training_data.reading import PageCursor
from app.training_data.schemas import FilePreview
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
    reasoning: ReasoningFinderDep,
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
    return await preview.build_preview(
        state,
        engines,
        reasoning,
        principal.project_id,
        file_id,
        ModelChoice(model, method, max_seq_length, long_rows),
        cursor=PageCursor.parse(after),
        limit=limit,
        split=split,
    )
