"""/v1/fine_tuning/alpha/graders"""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from app.errors import InvalidRequest, ModelNotFound
from app.graders.formula_checks import check_formula
from app.graders.grading_task import GradingRequest, GradingResult, run_grading_task
from app.graders.model_calls import ModelCalls, check_encoder, find_encoder, send_now
from app.graders.runner import GradingLimitExceeded, list_parts, run
from app.graders.schemas import (
    Grader,
    GraderRun,
    ModelGrader,
    RunGrader,
    ValidateGrader,
)
from app.http.dependencies import AppState, AppStateDep, PrincipalDep
from app.http.openapi import error_responses, success_response
from app.http.strict_json import StrictRoute
from app.http_server.disconnects import run_until_disconnect
from app.inference.dependencies import EnginesDep
from app.inference.proxy import resolve_model
from app.models.registry import ModelTask, ResolvedModel
from app.monitoring.dependencies import RecorderDep

router = APIRouter(
    prefix="/v1/fine_tuning/alpha/graders",
    tags=["graders"],
    route_class=StrictRoute,
    responses=error_responses(ModelNotFound),
)

# The request's schema: a `response_model` would describe the grader after normalization.
ECHOED_GRADER_SCHEMA = {"$ref": "#/components/schemas/ValidateGrader"}


@router.post("/validate", responses=success_response("application/json", ECHOED_GRADER_SCHEMA))
async def validate_grader(
    body: ValidateGrader, request: Request, state: AppStateDep, principal: PrincipalDep
) -> JSONResponse:
    """Check that a grader can be run, and echo it."""
    check_formula(body.grader, param="grader")
    await _resolve_judges(body.grader, state, principal.project_id)
    # Unchanged: `graders` of a multi grader has three forms, and clients expect their own.
    return JSONResponse({"grader": (await request.json())["grader"]})


@router.post("/run")
async def run_grader(
    body: RunGrader,
    request: Request,
    state: AppStateDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> GraderRun:
    """Grade one sample. Judges stop answering when the client disconnects."""
    judges = await _resolve_judges(body.grader, state, principal.project_id)
    send = send_now(engines, recorder, principal)
    calls = ModelCalls(send, judges, find_encoder(state.catalog))

    async def run_in_pool(task: GradingRequest) -> GradingResult:
        payload = task.model_dump_json().encode()
        result = await state.cpu_pool.call(principal.project_id, run_grading_task, payload)
        return GradingResult.model_validate_json(result)

    runs: list[GraderRun] = []

    async def grade() -> None:
        runs.append(
            await run(
                body.grader,
                body.model_sample,
                body.item,
                calls.ask_judge,
                run_in_pool,
                calls.embed,
            )
        )

    try:
        if not await run_until_disconnect(request.receive, grade):
            raise InvalidRequest("The client has disconnected.")
        return runs[0]
    except GradingLimitExceeded as error:
        raise InvalidRequest(
            f"The grader cannot be run: {error}. Shorten the sample, the item or the templates.",
            param="grader",
            code="string_above_max_length",
        ) from error


async def _resolve_judges(
    grader: Grader, state: AppState, project_id: str
) -> dict[str, ResolvedModel]:
    """The judge models of a grader, by name. Raises NotFound, InvalidRequest, also for want of an
    encoder."""
    graders = list_parts(grader).values()
    check_encoder(graders, state.catalog, param="grader")
    names = {each.model for each in graders if isinstance(each, ModelGrader)}
    return {
        name: await resolve_model(state, project_id, name, ModelTask.JUDGE, param="grader.model")
        for name in sorted(names)
    }
