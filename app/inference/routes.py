"""/v1/chat/completions, /v1/completions, /v1/embeddings, /v1/classify, and /models/{model} of
Hugging Face's inference API: find the model, then proxy the request to its engine."""

from functools import partial

from fastapi import APIRouter
from fastapi.responses import Response

from app.errors import ModelNotFound
from app.http.dependencies import AppState, AppStateDep, PrincipalDep, run_autocommit
from app.http.openapi import error_responses, json_or_sse
from app.http.strict_json import StrictRoute, TokenIdsRoute
from app.inference.dependencies import EnginesDep
from app.inference.endpoints import (
    CHAT_COMPLETIONS_PATH,
    COMPLETIONS_PATH,
    EMBEDDINGS_PATH,
    build_chat_body,
    build_completion_body,
    build_embeddings_body,
)
from app.inference.proxy import ProxyResponse, resolve_model
from app.models.registry import ModelTask
from app.monitoring.dependencies import RecorderDep
from app.stored_completions import service as stored_completions
from app.stored_completions.dependencies import CompletionRecorderDep
from app.stored_completions.recorder import CompletionCapture, make_capture
from app.wire.chat import ChatCompletionResponse, CreateChatCompletion
from app.wire.completions import Completion, CompletionRequest
from app.wire.embeddings import EmbeddingsRequest, EmbeddingsResponse
from app.wire.encoders import ClassifyRequest, ClassifyResponse, InferenceRequest, InferenceResponse

router = APIRouter(route_class=StrictRoute, responses=error_responses(ModelNotFound))
# For bodies that may contain texts as token ids.
token_ids_router = APIRouter(route_class=TokenIdsRoute, responses=error_responses(ModelNotFound))

CLASSIFY_PATH = "/v1/classify"


@router.post(
    CHAT_COMPLETIONS_PATH,
    tags=["chat"],
    responses=json_or_sse(ChatCompletionResponse, "chat.completion.chunk"),
)
async def create_chat_completion(
    body: CreateChatCompletion,
    state: AppStateDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    completions: CompletionRecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Continue a conversation, as one response or as a stream of events."""
    project_id = principal.project_id
    model = await resolve_model(state, project_id, body.model, ModelTask.CHAT)
    request = build_chat_body(body, model)
    capture = None
    if body.store:
        capture = make_capture(completions, project_id, request, body.metadata)
        await check_may_store(state, capture)
    return ProxyResponse(
        engines,
        recorder,
        model,
        CHAT_COMPLETIONS_PATH,
        request,
        principal=principal,
        capture=capture,
    )


async def check_may_store(state: AppState, capture: CompletionCapture) -> None:
    """Raise InvalidRequest or ServiceUnavailable if the answer could not be stored."""
    capture.recorder.check_room()
    check = partial(
        stored_completions.check_may_store,
        settings=state.settings,
        project_id=capture.project_id,
        size=len(capture.request),
    )
    await run_autocommit(state, check)


@token_ids_router.post(
    COMPLETIONS_PATH, tags=["completions"], responses=json_or_sse(Completion, "text_completion")
)
async def create_completion(
    body: CompletionRequest,
    state: AppStateDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Continue a text, as one response or as a stream of events."""
    model = await resolve_model(state, principal.project_id, body.model, ModelTask.COMPLETION)
    forwarded = build_completion_body(body, model)
    return ProxyResponse(engines, recorder, model, COMPLETIONS_PATH, forwarded, principal=principal)


@token_ids_router.post(
    EMBEDDINGS_PATH, tags=["embeddings"], responses={200: {"model": EmbeddingsResponse}}
)
async def create_embeddings(
    body: EmbeddingsRequest,
    state: AppStateDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Embed texts as vectors."""
    model = await resolve_model(state, principal.project_id, body.model, ModelTask.EMBEDDING)
    forwarded = build_embeddings_body(body, model)
    return ProxyResponse(engines, recorder, model, EMBEDDINGS_PATH, forwarded, principal=principal)


@router.post(CLASSIFY_PATH, tags=["encoders"], responses={200: {"model": ClassifyResponse}})
async def classify(
    body: ClassifyRequest,
    state: AppStateDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Classify texts."""
    task = ModelTask.ENCODER_INFERENCE
    model = await resolve_model(state, principal.project_id, body.model, task)
    forwarded = {**body.model_dump(exclude_unset=True), "model": model.name}
    return ProxyResponse(engines, recorder, model, CLASSIFY_PATH, forwarded, principal=principal)


@router.post(
    "/models/{model:path}", tags=["encoders"], responses={200: {"model": InferenceResponse}}
)
async def run_inference(
    model: str,
    body: InferenceRequest,
    state: AppStateDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
) -> Response:
    """Run the model's task, in the format of Hugging Face's inference API."""
    task = ModelTask.ENCODER_INFERENCE
    resolved = await resolve_model(state, principal.project_id, model, task)
    forwarded = body.model_dump(exclude_unset=True)
    return ProxyResponse(
        engines,
        recorder,
        resolved,
        f"/models/{resolved.name}",
        forwarded,
        principal=principal,
    )
