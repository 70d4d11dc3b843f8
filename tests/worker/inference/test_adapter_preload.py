"""Adapters are loaded into memory once, whoever asks for them at the same time."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.catalog import CatalogModel
from tests.worker.inference.running_engine import (
    TUNED_MODEL,
    make_greedy_chat,
    running_chat_engine,
)
from worker.inference.adapter_memory import AdapterFiles


def test_requests_that_wait_for_an_adapter_share_its_loading(
    tmp_path: Path,
    base_folder: Path,
    base_model: CatalogModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verify = AdapterFiles.verify

    def verify_slowly(files: AdapterFiles) -> None:
        time.sleep(0.5)
        verify(files)

    monkeypatch.setattr(AdapterFiles, "verify", verify_slowly)
    with running_chat_engine(tmp_path, base_folder, base_model) as engine:
        assert engine.load_adapter().status_code == 200
        num_loaded = engine.metric("adapter_load_seconds_count")
        chat = make_greedy_chat(engine.client)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: chat(model=TUNED_MODEL), range(8)))
        assert len({answer.choices[0].message.content for answer in answers}) == 1
        assert engine.metric("adapter_load_seconds_count") == num_loaded + 1
