"""A server that shuts down closes its streams of changes, and lets other responses end."""

import asyncio
import socket
import threading

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.http_server.protocol import BoundedHttpProtocol
from tests import http_client


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


def test_streams_do_not_delay_the_end_of_a_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            endless, http=BoundedHttpProtocol, lifespan="off", log_config=None, ws="none"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/changes"
        with httpx.stream("GET", url, timeout=http_client.TIMEOUT_SECONDS) as response:
            chunks = response.iter_raw()
            assert next(chunks) == b"first"
            server.should_exit = True
            with pytest.raises(httpx.RemoteProtocolError):
                next(chunks)
        thread.join(http_client.TIMEOUT_SECONDS)
        assert not thread.is_alive(), "the server waits for the stream"
