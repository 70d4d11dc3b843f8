"""Route of /v1/files/from_stored_completions, an extension of OpenAI's API."""

from functools import partial

from fastapi import APIRouter
from sqlalchemy.orm import Session

from app.db.tables import File, FilePurpose
from app.errors import ApiError
from app.files import intake, serializers
from app.files import service as files
from app.files.room import Room, reserve_room
from app.http.dependencies import (
    AppState,
    AppStateDep,
    PrincipalDep,
    run_autocommit,
    run_in_transaction,
)
from app.http.idempotency import (
    Idempotency,
    IdempotencyDep,
    IdempotentRoute,
    ReplayResponse,
    StoredResponse,
)
from app.stored_completions import service, training_files
from app.stored_completions.dependencies import CompletionRecorderDep
from app.stored_completions.schemas import CreateFileFromCompletions, FileFromCompletions
from app.stored_completions.service import CompletionFilter
from app.stored_completions.training_files import Selection, Written

router = APIRouter(prefix="/v1/files", tags=["files"], route_class=IdempotentRoute)

FILENAME = "stored-completions.jsonl"


@router.post("/from_stored_completions")
async def create_from_stored(
    body: CreateFileFromCompletions,
    state: AppStateDep,
    recorder: CompletionRecorderDep,
    principal: PrincipalDep,
    idempotency: IdempotencyDep,
) -> FileFromCompletions:
    """Make a training file out of stored chat completions, newest first."""
    # The file must have what this process has just answered.
    await state.db_slots.run(recorder.flush)
    resolve = partial(
        service.resolve_name,
        catalog=state.catalog,
        project_id=principal.project_id,
        name=body.model,
    )
    model = await run_autocommit(state, resolve)
    chosen = CompletionFilter(model, body.metadata or {})
    selection = Selection(principal.project_id, chosen, body.feedback, body.limit)
    max_bytes = state.settings.max_file_bytes
    async with (
        state.upload_slots.slot(),
        reserve_room(state, principal.project_id, None, max_bytes=max_bytes, files=1) as room,
    ):
        file, written = await _make_file(state, selection, room)
        content_id = body.model_dump_json().encode()
        add = partial(_add_once, idempotency, content_id, file, room, selection, written)
        try:
            result = await run_in_transaction(state, add)
        except ApiError:
            # No row refers to the stored content.
            await state.transfer_threads.run(state.store.delete, file.storage_key)
            raise
    if isinstance(result, StoredResponse):
        raise ReplayResponse(result)
    return result


async def _make_file(state: AppState, selection: Selection, room: Room) -> tuple[File, Written]:
    """Store the file; return its row, not yet added. Nothing stays in the store if it raises."""
    max_bytes = state.settings.max_file_bytes
    async with intake.receive_file(
        state, selection.project_id, max_bytes=max_bytes, check_room=room.check
    ) as incoming:
        written = await training_files.write_rows(state, incoming, selection)
        file = await intake.build_row(
            incoming, filename=FILENAME, purpose=FilePurpose.FINE_TUNE, expires_after_seconds=None
        )
        return file, written


def _add_once(
    idempotency: Idempotency,
    content_id: bytes,
    file: File,
    room: Room,
    selection: Selection,
    written: Written,
    session: Session,
) -> FileFromCompletions | StoredResponse:
    room.release(session)
    if (stored := idempotency.begin(session, content_id)) is not None:
        files.discard(session, file)
        return stored
    training_files.check_unchanged(session, selection, written)
    added = serializers.serialize_file(files.add(session, file))
    created = FileFromCompletions(
        **added.model_dump(),
        examples=len(written.used),
        skipped=written.skipped,
        first_skipped=written.first_skipped,
    )
    idempotency.finish(StoredResponse(200, created.model_dump(mode="json")))
    return created
