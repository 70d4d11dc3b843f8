"""FastAPI dependencies that check bodies by the items' schema, before a transaction is begun."""

from typing import Annotated

from fastapi import Depends

from app.errors import NotFound
from app.evals import data_sources, service
from app.evals.run_schemas import CreateEvalRun
from app.evals.run_sources import FileContentSource
from app.evals.schema_checks import check_items, check_schema
from app.evals.schemas import CreateEval, CustomDataSource
from app.http.dependencies import AppStateDep, PrincipalDep, run_autocommit


async def check_eval(body: CreateEval, state: AppStateDep, principal: PrincipalDep) -> CreateEval:
    """Raise InvalidRequest for a schema that is not valid."""
    config = body.data_source_config
    if isinstance(config, CustomDataSource):
        param = "data_source_config.item_schema"
        await check_schema(state, principal.project_id, config.item_schema, param=param)
    return body


async def check_run(
    eval_id: str, body: CreateEvalRun, state: AppStateDep, principal: PrincipalDep
) -> CreateEvalRun:
    """Raise InvalidRequest for an item of the request that does not match its eval's schema."""
    project_id = principal.project_id
    try:
        config = await run_autocommit(
            state, lambda session: service.get(session, project_id, eval_id).data_source_config
        )
    except NotFound:
        # The route says so, unless an earlier attempt of this request was answered before.
        return body
    schema = data_sources.get_item_schema(config)
    if schema:
        source = body.data_source.source
        rows = source.content if isinstance(source, FileContentSource) else []
        await check_items(state, project_id, schema, [row.item for row in rows])
    return body


CHECK_EVAL, CHECK_RUN = Depends(check_eval), Depends(check_run)
CheckedEvalDep = Annotated[CreateEval, CHECK_EVAL]
CheckedRunDep = Annotated[CreateEvalRun, CHECK_RUN]
