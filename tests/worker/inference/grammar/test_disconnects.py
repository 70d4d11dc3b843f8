"""Grammars are not compiled for clients that have gone while they waited for their turn."""

import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.polling import wait_until
from tests.raw_http import connected
from tests.worker.inference.running_engine import HELLO, EngineClient
from worker.inference.fair_executor import FairExecutor
from worker.inference.grammar.compiler import GrammarCompiler
from worker.inference.grammar.grammar import Grammar
from worker.inference.loaded_model import RENDERING_THREADS


def make_body(name: str, path: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {name: {"enum": [1]}}, "required": [name]}
    format = {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
    prompt = {"messages": HELLO} if path.startswith("/v1/chat") else {"prompt": "hello"}
    return {"model": "tiny", "max_tokens": 60, "response_format": format, **prompt}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_what_waits_for_its_turn_is_dropped_with_its_client(
    engine: EngineClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    compiled: list[str] = []
    queued: list[Future[Any]] = []
    may_compile = threading.Event()
    compile_, submit = GrammarCompiler.compile, FairExecutor.submit

    def compile_later(self: GrammarCompiler, source: str) -> Grammar:
        compiled.append(source)
        assert may_compile.wait(120)
        return compile_(self, source)

    def note(self: FairExecutor, *arguments: Any) -> Future[Any]:
        queued.append(submit(self, *arguments))
        return queued[-1]

    monkeypatch.setattr(GrammarCompiler, "compile", compile_later)
    monkeypatch.setattr(FairExecutor, "submit", note)
    with ThreadPoolExecutor(RENDERING_THREADS) as clients, ExitStack() as leaving:
        try:
            staying = [
                clients.submit(engine.http, "POST", path, json=make_body(f"stays{n}", path))
                for n in range(RENDERING_THREADS)
            ]
            wait_until("all threads compile", lambda: len(compiled) == RENDERING_THREADS)
            before = len(queued)
            for number in range(3):
                content = json.dumps(make_body(f"leaves{number}", path)).encode()
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
                connection = leaving.enter_context(connected(engine.url))
                connection.sendall(head.encode() + content)
            wait_until("they wait", lambda: len(queued) == before + 3)
            leaving.close()
            wait_until(
                "they are dropped", lambda: all(each.cancelled() for each in queued[before:])
            )
        finally:
            may_compile.set()
        assert [each.result().status_code for each in staying] == [200] * RENDERING_THREADS
    assert not [source for source in compiled if "leaves" in source]
