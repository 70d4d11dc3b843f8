"""Failures specific to the S3 store: lost responses, truncated responses, unreachable servers."""

import os
import select
import socket
from collections.abc import Iterator
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest

from app.settings import Settings
from app.storage import AlreadyExists, ObjectStore, StorageUnavailable, open_store
from app.storage.s3_writer import PART_SIZE

MIB = 2**20


class BreakingProxy(ThreadingTCPServer):
    """Proxy to an S3 server that cuts connections on purpose.

    A fault is text of a request and the number of bytes of its response that still pass. Each
    fault applies once.
    """

    daemon_threads = True

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.target = target
        self.faults: list[tuple[bytes, int]] = []

    def fault_in(self, request: bytes) -> int | None:
        for fault in self.faults:
            if fault[0] in request:
                self.faults.remove(fault)
                return fault[1]
        return None


class _Relay(BaseRequestHandler):
    server: BreakingProxy

    def handle(self) -> None:
        allowed: int | None = None
        with socket.create_connection(self.server.target) as upstream:
            while True:
                for ready in select.select([self.request, upstream], [], [])[0]:
                    data = ready.recv(2**16)
                    if not data:
                        return
                    if ready is self.request:
                        fault = self.server.fault_in(data)
                        allowed = allowed if fault is None else fault
                        upstream.sendall(data)
                    elif allowed is None or data.startswith(b"HTTP/1.1 100 "):
                        self.request.sendall(data)
                    else:
                        self.request.sendall(data[:allowed])
                        allowed -= len(data[:allowed])
                        if not allowed:
                            return


@pytest.fixture
def proxy(s3_url: str) -> Iterator[BreakingProxy]:
    address = urlsplit(s3_url)
    assert address.hostname
    assert address.port
    with BreakingProxy((address.hostname, address.port)) as proxy:
        Thread(target=proxy.serve_forever, args=(0.01,)).start()
        yield proxy
        proxy.shutdown()


@pytest.fixture
def store(s3_settings: Settings, proxy: BreakingProxy) -> ObjectStore:
    url = f"http://127.0.0.1:{proxy.server_address[1]}"
    return open_store(s3_settings.model_copy(update={"s3_endpoint_url": url}))


class TestTruncatedResponses:
    def test_a_download_resumes_at_its_offset(
        self, store: ObjectStore, proxy: BreakingProxy
    ) -> None:
        data = os.urandom(5 * MIB)
        store.put("a", data)
        proxy.faults = [(b"GET ", 2 * MIB), (b" bytes=2", MIB)]
        assert b"".join(store.chunks("a")) == data
        assert not proxy.faults

    def test_a_download_that_never_completes_raises_storage_unavailable(
        self, store: ObjectStore, proxy: BreakingProxy
    ) -> None:
        store.put("a", os.urandom(5 * MIB))
        proxy.faults = [(b"GET ", 1000)] * 5
        with pytest.raises(StorageUnavailable, match="was interrupted"):
            store.get("a")

    def test_two_versions_of_an_object_are_never_joined(
        self, store: ObjectStore, proxy: BreakingProxy
    ) -> None:
        store.put("a", b"x" * 5 * MIB)
        proxy.faults = [(b"GET ", 2 * MIB)]
        chunks = store.chunks("a")
        store.put("a", b"y" * 5 * MIB)
        with pytest.raises(StorageUnavailable):
            b"".join(chunks)


class TestLostResponses:
    def test_a_retried_conditional_put_recognizes_its_own_object(
        self, store: ObjectStore, proxy: BreakingProxy
    ) -> None:
        proxy.faults = [(b"PUT ", 0)]
        store.put("a", b"mine", if_absent=True)
        assert not proxy.faults
        with pytest.raises(AlreadyExists):
            store.put("a", b"mine", if_absent=True)

    def test_a_retried_completion_recognizes_its_own_object(
        self, store: ObjectStore, proxy: BreakingProxy
    ) -> None:
        data = os.urandom(PART_SIZE + 1)
        proxy.faults = [(b"?uploadId=", 0)]
        with store.writer("a") as writer:
            writer.write(data)
        assert not proxy.faults
        assert store.get("a") == data


class TestUnavailable:
    def test_an_unknown_bucket(self, s3_settings: Settings) -> None:
        store = open_store(s3_settings.model_copy(update={"s3_bucket": "unknown"}))
        with pytest.raises(StorageUnavailable, match=r"bucket unknown .* does not exist"):
            store.check()
        # Not FileNotFoundError: that would mean "this upload is lost".
        with pytest.raises(StorageUnavailable, match="does not exist"):
            store.get("a")

    def test_an_unreachable_server(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses every connection
            settings = Settings(
                s3_bucket="luthier",
                s3_endpoint_url=f"http://127.0.0.1:{taken.getsockname()[1]}",
                s3_access_key_id="id",
                s3_secret_access_key="secret",
            )
            with pytest.raises(StorageUnavailable, match="cannot be reached"):
                open_store(settings).check()
