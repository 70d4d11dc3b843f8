"""/v1/fine_tuning/alpha/graders"""

from typing import Any

import httpx
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from app import logs
from app.errors import InvalidRequest
from app.graders import formula
from app.graders.formula import FormulaError
from app.graders.runner import JudgeResponse, JudgeUnavailable, run
from app.graders.schemas import (
    Grader,
    GraderRun,
    JudgeCompletion,
    JudgeError,
    ModelGrader,
    ModelMessage,
    MultiGrader,
    RunGrader,
    SamplingParams,
    ValidateGrader,
)
from app.http.dependencies import AppState, AppStateDep, PrincipalDep
from app.http.openapi import success_response
from app.http.strict_json import StrictRoute
from app.inference.dependencies import EnginesDep
from app.inference.engines import EngineClient, EngineUnavailable
from app.inference.proxy import resolve_model
from app.models.registry import ResolvedModel

router = APIRouter(
    prefix="/v1/fine_tuning/alpha/graders", tags=["graders"], route_class=StrictRoute
)

log = logs.get_logger(__name__)

CHAT_COMPLETIONS_PATH = "/v1/chat/completions"
# A judge gives a number, perhaps with reasons. A small model that is not stopped fills its context,
# for which clients do not wait.
DEFAULT_JUDGE_MAX_TOKENS = 512
# As it came, so in the words of requests; as a `response_model` it would be in those of answers.
ECHOED_GRADER_SCHEMA = {"$ref": "#/components/schemas/ValidateGrader"}


@router.post("/validate", responses=success_response("application/json", ECHOED_GRADER_SCHEMA))
async def validate_grader(
    asked: ValidateGrader, request: Request, parts: AppStateDep, principal: PrincipalDep
) -> JSONResponse:
    """Say whether a grader can be run, and repeat it."""
    _validate_formula(asked.grader)
    await _resolve_judges(asked.grader, parts, principal.project_id)
    # As it came: the parts of a multi grader have three forms, and clients know their own.
    return JSONResponse({"grader": (await request.json())["grader"]})


@router.post("/run")
async def run_grader(
    asked: RunGrader, parts: AppStateDep, engines: EnginesDep, principal: PrincipalDep
) -> GraderRun:
    """Grade one sample."""
    judges = await _resolve_judges(asked.grader, parts, principal.project_id)

    async def ask(grader: ModelGrader, messages: list[ModelMessage]) -> JudgeResponse:
        return await _ask_judge(engines, judges[grader.model], grader, messages)

    return await run(asked.grader, asked.model_sample, asked.item, ask)


def _validate_formula(grader: Grader) -> None:
    """Raises InvalidRequest for a formula that cannot be read. Whether it has a value, as 1 / 0 has
    none, a run tells."""
    if not isinstance(grader, MultiGrader):
        return
    try:
        formula.compile_formula(grader.calculate_output, grader.graders)
    except FormulaError as error:
        raise InvalidRequest(
            f"Invalid 'grader.calculate_output': {error}. It computes with + - * / ^, with "
            f"{', '.join(formula.FUNCTIONS)}, and with these graders: {', '.join(grader.graders)}.",
            param="grader.calculate_output",
            code="invalid_value",
        ) from error


async def _resolve_judges(
    grader: Grader, parts: AppState, project_id: str
) -> dict[str, ResolvedModel]:
    """The models that a grader asks, by the names it uses. Raises NotFound, InvalidRequest."""
    graders = grader.graders.values() if isinstance(grader, MultiGrader) else [grader]
    names = {each.model for each in graders if isinstance(each, ModelGrader)}
    found = {}
    for name in sorted(names):
        found[name] = await resolve_model(parts, project_id, name)
        if found[name].base.kind != "causal":
            message = f"The model `{name}` is an encoder and cannot judge."
            raise InvalidRequest(message, param="grader.model")
    return found


async def _ask_judge(
    engines: EngineClient, served: ResolvedModel, grader: ModelGrader, messages: list[ModelMessage]
) -> JudgeResponse:
    body = {"model": served.name, "messages": [message.model_dump() for message in messages]}
    try:
        async with engines.forward(
            served, CHAT_COMPLETIONS_PATH, body | _sampling_params(grader)
        ) as answer:
            whole = b"".join([chunk async for chunk in answer.chunks])
    except EngineUnavailable as error:
        raise JudgeUnavailable(error.message) from error
    return _parse_judge_response(answer.status, whole)


def _parse_judge_response(status: int, answer: bytes) -> JudgeResponse:
    """Raises JudgeUnavailable for an answer without a judgement: engines are anybody's programs."""
    try:
        if status != httpx.codes.OK:
            raise JudgeUnavailable(JudgeError.model_validate_json(answer).error.message)
        found = JudgeCompletion.model_validate_json(answer)
    except ValidationError as error:
        log.error("engine.unreadable", status=status, faults=error.error_count())
        raise JudgeUnavailable("The model's engine gave an answer that cannot be read.") from error
    return JudgeResponse(
        text=found.choices[0].message.content or "", tokens=found.usage.total_tokens
    )


def _sampling_params(grader: ModelGrader) -> dict[str, Any]:
    params = grader.sampling_params or SamplingParams()
    chosen = {
        "seed": params.seed,
        "top_p": params.top_p,
        "temperature": params.temperature,
        "max_completion_tokens": params.max_completions_tokens or DEFAULT_JUDGE_MAX_TOKENS,
    }
    return {name: value for name, value in chosen.items() if value is not None}
