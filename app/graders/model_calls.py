"""Requests of graders to models: judges, and the encoder that embeds texts."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from app import logs
from app.auth.principals import Principal
from app.catalog import Catalog, ModelKind
from app.db.tables import UsageKind
from app.errors import InvalidRequest
from app.graders.runner import EmbeddedTexts, JudgeResponse, JudgeUnavailable
from app.graders.schemas import (
    JudgeCompletion,
    JudgeError,
    ModelGrader,
    ModelMessage,
    SamplingParams,
    TextSimilarityGrader,
)
from app.inference.answer_usage import read_usage
from app.inference.engines import EngineClient, EngineUnavailable
from app.models.registry import ResolvedModel
from app.monitoring.recorder import TrafficRecorder
from app.usage.ledger import UsageKey
from app.wire.embeddings import EmbeddingsResponse

log = logs.get_logger(__name__)

CHAT_COMPLETIONS_PATH = "/v1/chat/completions"
EMBEDDINGS_PATH = "/v1/embeddings"
# A judge answers with a number, perhaps with reasons. Without a limit, a small model may fill its
# context, which takes longer than clients wait.
DEFAULT_JUDGE_MAX_TOKENS = 512
Model = TypeVar("Model", bound=BaseModel)
# Sends a body to a model's engine; returns the status and the body of the answer. Raises
# JudgeUnavailable.
Send = Callable[[ResolvedModel, str, dict[str, Any]], Awaitable[tuple[int, bytes]]]

# The engine truncates to the model's maximum.
TRUNCATE = -1


def find_encoder(catalog: Catalog) -> ResolvedModel | None:
    """Find the encoder whose embeddings are compared: the first of the catalog."""
    encoders = (ResolvedModel(each.id, each) for each in catalog if each.kind == ModelKind.ENCODER)
    return next(encoders, None)


def check_encoder(graders: Iterable[BaseModel], catalog: Catalog, *, param: str) -> None:
    """Raise InvalidRequest if texts are to be embedded, and there is no encoder."""
    needs_encoder = any(
        isinstance(each, TextSimilarityGrader) and each.evaluation_metric == "cosine"
        for each in graders
    )
    if needs_encoder and find_encoder(catalog) is None:
        raise InvalidRequest(
            f"Invalid '{param}': 'cosine' compares embeddings, and no encoder is in this service's "
            "catalog of models. Use another metric.",
            param=param,
            code="unsupported_value",
        )


@dataclass(frozen=True, slots=True)
class ModelCalls:
    """Sends a project's requests to the engines of judges, by name, and of the encoder."""

    send: Send
    judges: Mapping[str, ResolvedModel] = field(default_factory=dict)
    encoder: ResolvedModel | None = None

    async def ask_judge(
        self, grader: ModelGrader, messages: Sequence[ModelMessage]
    ) -> JudgeResponse:
        """Ask a grader's judge. Raises JudgeUnavailable."""
        model = self.judges[grader.model]
        body = {"model": model.name, "messages": [message.model_dump() for message in messages]}
        content = await self._post(model, CHAT_COMPLETIONS_PATH, body | _sampling_params(grader))
        completion = _parse(JudgeCompletion, content)
        usage = completion.usage
        return JudgeResponse(
            text=completion.choices[0].message.content or "",
            tokens=usage.total_tokens,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
        )

    async def embed(self, texts: Sequence[str]) -> EmbeddedTexts:
        """Embed texts, none of which is empty. Raises JudgeUnavailable."""
        model = self.encoder
        if model is None:
            raise JudgeUnavailable("No encoder is in the catalog, which 'cosine' needs.")
        body = {
            "model": model.name,
            "input": list(texts),
            "encoding_format": "float",
            "truncate_prompt_tokens": TRUNCATE,
        }
        content = await self._post(model, EMBEDDINGS_PATH, body)
        response = _parse(EmbeddingsResponse, content)
        vectors = [each.embedding for each in sorted(response.data, key=lambda item: item.index)]
        if len(vectors) != len(texts) or any(isinstance(vector, str) for vector in vectors):
            raise JudgeUnavailable("The encoder's engine gave an unreadable response.")
        numbers = [vector for vector in vectors if isinstance(vector, list)]
        return EmbeddedTexts(model.name, numbers, response.usage.total_tokens)

    async def _post(self, model: ResolvedModel, path: str, body: dict[str, Any]) -> bytes:
        """Send a request; return the body of a success. Raises JudgeUnavailable for any other."""
        status, content = await self.send(model, path, body)
        if status != httpx.codes.OK:
            raise JudgeUnavailable(_parse(JudgeError, content).error.message)
        return content


def send_now(engines: EngineClient, recorder: TrafficRecorder, principal: Principal) -> Send:
    """A way to send requests for a client that waits. Their tokens are counted to its key."""

    async def send(model: ResolvedModel, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        project_id = principal.project_id
        try:
            async with engines.forward(model, path, body, project_id=project_id) as response:
                content = b"".join([chunk async for chunk in response.chunks])
                status = response.status
        except EngineUnavailable as error:
            raise JudgeUnavailable(error.message) from error
        counts = read_usage(content) if status == httpx.codes.OK else None
        if counts is not None:
            kind = UsageKind.EMBEDDINGS if path == EMBEDDINGS_PATH else UsageKind.COMPLETIONS
            key = UsageKey(project_id, principal.key_id, model.name, kind)
            recorder.record_usage(key, counts)
        return status, content

    return send


def _parse(schema: type[Model], content: bytes) -> Model:
    """Raises JudgeUnavailable: engines may be third-party servers."""
    try:
        return schema.model_validate_json(content)
    except ValidationError as error:
        log.error("engine.unreadable", errors=error.error_count())
        raise JudgeUnavailable("The model's engine gave an unreadable response.") from error


def _sampling_params(grader: ModelGrader) -> dict[str, Any]:
    params = grader.sampling_params or SamplingParams()
    body = {
        "seed": params.seed,
        "top_p": params.top_p,
        "temperature": params.temperature,
        "max_completion_tokens": params.max_new_tokens or DEFAULT_JUDGE_MAX_TOKENS,
        "reasoning_effort": params.reasoning_effort,
    }
    return {name: value for name, value in body.items() if value is not None}
