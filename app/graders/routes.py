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
from app.graders.runner import Judgement, JudgeUnavailable, run
from app.graders.schemas import (
    Grader,
    GraderRun,
    Judge,
    JudgeAnswer,
    JudgeRefusal,
    ModelMessage,
    Multi,
    RunGrader,
    SamplingParams,
    ValidateGrader,
)
from app.http.dependencies import Parts, PartsDep, PrincipalDep
from app.http.openapi import answers
from app.http.strict_json import StrictRoute
from app.inference.dependencies import EnginesDep
from app.inference.engines import Engines, EngineUnavailable
from app.inference.proxy import resolve
from app.models.registry import ServedModel

router = APIRouter(
    prefix="/v1/fine_tuning/alpha/graders", tags=["graders"], route_class=StrictRoute
)

log = logs.get(__name__)

CHAT = "/v1/chat/completions"
# A judge gives a number, perhaps with reasons. A small model that is not stopped fills its context,
# for which clients do not wait.
JUDGEMENT_TOKENS = 512
# As it came, so in the words of requests; as a `response_model` it would be in those of answers.
REPEATED = {"$ref": "#/components/schemas/ValidateGrader"}


@router.post("/validate", responses=answers("application/json", REPEATED))
async def validate_grader(
    asked: ValidateGrader, request: Request, parts: PartsDep, principal: PrincipalDep
) -> JSONResponse:
    """Say whether a grader can be run, and repeat it."""
    _require_formula(asked.grader)
    await _judges(asked.grader, parts, principal.project_id)
    # As it came: the parts of a multi grader have three forms, and clients know their own.
    return JSONResponse({"grader": (await request.json())["grader"]})


@router.post("/run")
async def run_grader(
    asked: RunGrader, parts: PartsDep, engines: EnginesDep, principal: PrincipalDep
) -> GraderRun:
    """Grade one sample."""
    judges = await _judges(asked.grader, parts, principal.project_id)

    async def ask(grader: Judge, messages: list[ModelMessage]) -> Judgement:
        return await _judgement(engines, judges[grader.model], grader, messages)

    return await run(asked.grader, asked.model_sample, asked.item, ask)


def _require_formula(grader: Grader) -> None:
    """Raises InvalidRequest for a formula that cannot be read. Whether it has a value, as 1 / 0 has
    none, a run tells."""
    if not isinstance(grader, Multi):
        return
    try:
        formula.read(grader.calculate_output, grader.graders)
    except FormulaError as error:
        raise InvalidRequest(
            f"Invalid 'grader.calculate_output': {error}. It computes with + - * / ^, with "
            f"{', '.join(formula.FUNCTIONS)}, and with these graders: {', '.join(grader.graders)}.",
            param="grader.calculate_output",
            code="invalid_value",
        ) from error


async def _judges(grader: Grader, parts: Parts, project_id: str) -> dict[str, ServedModel]:
    """The models that a grader asks, by the names it uses. Raises NotFound, InvalidRequest."""
    graders = grader.graders.values() if isinstance(grader, Multi) else [grader]
    names = {each.model for each in graders if isinstance(each, Judge)}
    found = {}
    for name in sorted(names):
        found[name] = await resolve(parts, project_id, name)
        if found[name].base.kind != "causal":
            message = f"The model `{name}` is an encoder and cannot judge."
            raise InvalidRequest(message, param="grader.model")
    return found


async def _judgement(
    engines: Engines, served: ServedModel, grader: Judge, messages: list[ModelMessage]
) -> Judgement:
    body = {"model": served.name, "messages": [message.model_dump() for message in messages]}
    try:
        async with engines.relay(served, CHAT, body | _sampling(grader)) as answer:
            whole = b"".join([chunk async for chunk in answer.chunks])
    except EngineUnavailable as error:
        raise JudgeUnavailable(error.message) from error
    return _read(answer.status, whole)


def _read(status: int, answer: bytes) -> Judgement:
    """Raises JudgeUnavailable for an answer without a judgement: engines are anybody's programs."""
    try:
        if status != httpx.codes.OK:
            raise JudgeUnavailable(JudgeRefusal.model_validate_json(answer).error.message)
        found = JudgeAnswer.model_validate_json(answer)
    except ValidationError as error:
        log.error("engine.unreadable", status=status, faults=error.error_count())
        raise JudgeUnavailable("The model's engine gave an answer that cannot be read.") from error
    return Judgement(text=found.choices[0].message.content or "", tokens=found.usage.total_tokens)


def _sampling(grader: Judge) -> dict[str, Any]:
    params = grader.sampling_params or SamplingParams()
    chosen = {
        "seed": params.seed,
        "top_p": params.top_p,
        "temperature": params.temperature,
        "max_completion_tokens": params.max_completions_tokens or JUDGEMENT_TOKENS,
    }
    return {name: value for name, value in chosen.items() if value is not None}
