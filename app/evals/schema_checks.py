"""Checks of requests by the items' schema, in processes of the CPU pool."""

from collections.abc import Sequence
from typing import Any

from app.cpu_pool.pool import CpuPool
from app.cpu_pool.protocol import TaskCrashed, TaskOutOfMemory, TaskTimeout
from app.errors import InvalidRequest
from app.evals.item_schema import (
    CHECK_TIMEOUT_SECONDS,
    TOO_SLOW,
    SchemaFault,
    SchemaResult,
    SchemaTask,
    describe_schema_fault,
    format_path,
    run_schema_task,
)
from app.http.dependencies import AppState


async def check_schema(
    state: AppState, project_id: str, schema: dict[str, Any], *, param: str
) -> None:
    """Raise InvalidRequest for a schema that is not valid."""
    fault = await _find_fault(state.cpu_pool, project_id, schema, [])
    if fault is not None:
        place = param + format_path(fault.path)
        raise InvalidRequest(
            f"Invalid '{place}': {fault.message}. Expected a JSON schema whose references are to "
            "its own parts and whose patterns have no look-around and no back-references.",
            param=place,
            code="invalid_value",
        )


async def check_items(
    state: AppState, project_id: str, schema: dict[str, Any], items: Sequence[dict[str, Any]]
) -> None:
    """Raise InvalidRequest for an item of a run's request that does not match."""
    fault = await _find_fault(state.cpu_pool, project_id, schema, items)
    if fault is not None:
        raise _describe_item(fault)


async def _find_fault(
    pool: CpuPool, project_id: str, schema: dict[str, Any], items: Sequence[dict[str, Any]]
) -> SchemaFault | None:
    task = SchemaTask(schema_=schema, items=list(items))
    try:
        reply = await pool.call(
            project_id,
            run_schema_task,
            task.model_dump_json().encode(),
            timeout_seconds=CHECK_TIMEOUT_SECONDS,
        )
    except (TaskTimeout, TaskCrashed, TaskOutOfMemory):
        return SchemaFault(message=TOO_SLOW)
    return SchemaResult.model_validate_json(reply).fault


def _describe_item(fault: SchemaFault) -> InvalidRequest:
    if fault.index is None:
        return InvalidRequest(
            describe_schema_fault(fault), param="data_source.source", code="invalid_value"
        )
    place = f"data_source.source.content[{fault.index}].item{format_path(fault.path)}"
    return InvalidRequest(
        f"Invalid '{place}': {fault.message}. Each item must match the 'item_schema' of its eval.",
        param=place,
        code="invalid_value",
    )
