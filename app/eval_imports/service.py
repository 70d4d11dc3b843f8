"""Import of evals: a document is planned, checked, and created in one transaction."""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

from sqlalchemy.orm import Session

from app import logs
from app.cpu_pool.protocol import TaskCrashed, TaskOutOfMemory, TaskTimeout
from app.db.tables import File, FilePurpose
from app.errors import ApiError, InvalidRequest
from app.eval_imports.checks import CheckedEval, PlanChecker
from app.eval_imports.plan import Difference, DifferenceList, ImportPlan
from app.eval_imports.schemas import EvalImport, ImportedEval, ImportedRun, ImportEvals
from app.eval_imports.task import ImportResult, ImportTask, run_import_task
from app.evals import schema_checks, serializers
from app.evals import service as evals
from app.files import intake
from app.files import serializers as file_serializers
from app.files import service as files
from app.files.room import Room, reserve_room
from app.http.dependencies import AppState, run_autocommit, run_in_transaction
from app.http.idempotency import Idempotency, StoredResponse

log = logs.get_logger(__name__)

STATUS = 201
MAX_LISTED_REASONS = 5
# Of all evals together.
MAX_SCHEMA_SECONDS = 10.0


async def import_evals(
    state: AppState, project_id: str, body: ImportEvals, attempt: Idempotency
) -> EvalImport | StoredResponse:
    """Import a document, or find what an earlier attempt did.

    Raises InvalidRequest for a document of which nothing can be imported, ModelNotFound for the
    judge model, and StorageQuotaExceeded.
    """
    plan = await _plan(state, project_id, body)
    differences = DifferenceList(plan.differences)
    await _check_schemas(state, project_id, plan, differences)

    def check(session: Session) -> list[CheckedEval]:
        checker = PlanChecker(session, state.catalog, project_id, body.judge_model, differences)
        return checker.check(plan)

    checked = await run_autocommit(state, check)
    if not checked:
        raise InvalidRequest(
            f"Nothing of 'content' can be imported. {_describe(differences.list_all())}".strip(),
            param="content",
            code="invalid_value",
        )
    used = {file for each in checked for file in _list_files(each)}
    texts = {number: plan.files[number].encode() for number in sorted(used)}
    async with AsyncExitStack() as stack:
        room = None
        if texts:
            size = sum(map(len, texts.values()))
            await stack.enter_async_context(state.upload_slots.slot())
            room = await stack.enter_async_context(
                reserve_room(state, project_id, str(size), max_bytes=size, files=len(texts))
            )
        stored: dict[int, File] = {}
        add = partial(
            _add_once,
            attempt=attempt,
            project_id=project_id,
            state=state,
            body=body,
            room=room,
            files_by_number=stored,
            checked=checked,
            result=EvalImport(format=plan.format, data=[], differences=differences.list_all()),
        )
        try:
            for number, text in texts.items():
                assert room is not None
                stored[number] = await _store(state, project_id, room, number, text)
            return await run_in_transaction(state, add)
        except ApiError:
            # No rows refer to the stored contents.
            for file in stored.values():
                await state.transfer_threads.run(state.store.delete, file.storage_key)
            raise


async def _plan(state: AppState, project_id: str, body: ImportEvals) -> ImportPlan:
    task = ImportTask(content=body.content, format=body.format)
    try:
        reply = await state.cpu_pool.call(
            project_id, run_import_task, task.model_dump_json().encode()
        )
        result = ImportResult.model_validate_json(reply)
    except TaskCrashed as error:
        log.error("eval_imports.crashed", project_id=project_id, reason=str(error))
        result = ImportResult(fault="This service cannot read it, and its log says why.")
    except (TaskTimeout, TaskOutOfMemory):
        result = ImportResult(fault="Reading it takes too much time or memory. Import it in parts.")
    if result.plan is None:
        raise InvalidRequest(
            f"Invalid 'content': {result.fault}", param="content", code="invalid_value"
        )
    return result.plan


async def _check_schemas(
    state: AppState, project_id: str, plan: ImportPlan, differences: DifferenceList
) -> None:
    """Leave out evals whose items' schema is not valid, or takes too long to check."""
    deadline = time.monotonic() + MAX_SCHEMA_SECONDS
    for planned in list(plan.evals):
        schema = planned.data_source_config.get("item_schema")
        if time.monotonic() > deadline:
            reason = "The schemas before its own take too long to check. Import it alone."
            differences.leave_out("eval", reason, planned.place)
            plan.evals.remove(planned)
        elif isinstance(schema, dict):
            try:
                await schema_checks.check_schema(state, project_id, schema, param="item_schema")
            except InvalidRequest as error:
                differences.leave_out("eval", error.message, planned.place)
                plan.evals.remove(planned)


def _list_files(checked: CheckedEval) -> list[int]:
    numbers = [checked.file, *(file for file, _ in checked.runs)]
    return [number for number in numbers if number is not None]


async def _store(state: AppState, project_id: str, room: Room, number: int, text: bytes) -> File:
    """Store a file of items; return its row, not yet added."""
    async with intake.receive_file(
        state, project_id, max_bytes=state.settings.max_file_bytes, check_room=room.check
    ) as incoming:
        incoming.skip_validation()
        await incoming.consume(incoming.write, text)
        return await intake.build_row(
            incoming,
            filename=f"imported-items-{number + 1}.jsonl",
            purpose=FilePurpose.EVALS,
            expires_after_seconds=None,
        )


def _add_once(
    session: Session,
    *,
    attempt: Idempotency,
    project_id: str,
    state: AppState,
    body: ImportEvals,
    room: Room | None,
    files_by_number: dict[int, File],
    checked: Sequence[CheckedEval],
    result: EvalImport,
) -> EvalImport | StoredResponse:
    if room is not None:
        room.release(session)
    if (stored := attempt.begin(session, body.model_dump_json().encode())) is not None:
        for file in files_by_number.values():
            files.discard(session, file)
        return stored
    for file in files_by_number.values():
        files.add(session, file)
    for each in checked:
        row = evals.create(session, state.catalog, project_id, each.body)
        items = None if each.file is None else files_by_number[each.file]
        result.data.append(
            ImportedEval(
                eval=serializers.serialize_eval(row),
                file=None if items is None else file_serializers.serialize_file(items),
                runs=[_name_file(run, number, files_by_number) for number, run in each.runs],
            )
        )
    attempt.finish(StoredResponse(STATUS, result.model_dump(mode="json")))
    return result


def _name_file(
    run: ImportedRun, number: int | None, files_by_number: dict[int, File]
) -> ImportedRun:
    """Name the file that a run reads."""
    if number is None:
        return run
    source = {"type": "file_id", "id": files_by_number[number].id}
    return run.model_copy(update={"data_source": {**run.data_source, "source": source}})


def _describe(differences: Sequence[Difference]) -> str:
    """Say why, of the first places."""
    reasons = [
        f"{each.subject} in {each.places[0]}: {each.reason}"
        for each in differences[:MAX_LISTED_REASONS]
    ]
    return " ".join(reasons)
