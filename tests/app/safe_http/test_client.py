"""The SSRF-safe client: pinned addresses, deadlines, hostile receivers."""

import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.safe_http.client import NoResponse, SafeHttpClient
from app.safe_http.ip_policy import DestinationNotAllowed, resolve
from tests.webhook_receivers import WebhookReceiver, respond_with_status, run_receiver

LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with run_receiver() as receiver:
        yield receiver


def post(url: str, *, seconds: float = 60) -> int:
    return SafeHttpClient(LOOPBACK, timeout_seconds=seconds).post(url, b"{}", {"x-mark": "1"})


def test_post_returns_the_status(receiver: WebhookReceiver) -> None:
    assert post(receiver.url) == 204
    ((headers, body),) = receiver.requests
    assert body == b"{}"
    assert headers["x-mark"] == "1"
    assert headers["host"] == f"127.0.0.1:{receiver.port}"


def test_a25_redirects_are_not_followed(receiver: WebhookReceiver) -> None:
    with run_receiver() as other:
        receiver.respond = respond_with_status(307, f"Location: {other.url}")
        assert post(receiver.url) == 307
        assert other.connections == 0


def test_proxies_from_the_environment_are_not_used(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_receiver() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert post(receiver.url) == 204
        assert proxy.connections == 0


class TestPinning:
    def test_a_name_with_a_private_address_is_not_connected_to(
        self, receiver: WebhookReceiver
    ) -> None:
        poster = SafeHttpClient(resolver=lambda host, port: ["127.0.0.1"])
        with pytest.raises(DestinationNotAllowed):
            poster.post("https://rebound.example/", b"", {})
        assert receiver.connections == 0

    def test_one_private_address_among_public_ones_is_rejected(self) -> None:
        poster = SafeHttpClient(resolver=lambda host, port: ["1.1.1.1", "10.0.0.1"])
        with pytest.raises(DestinationNotAllowed, match=r"10\.0\.0\.1"):
            poster.post("https://rebound.example/", b"", {})

    def test_a27_a_name_is_resolved_once_per_post_and_checked_each_time(
        self, receiver: WebhookReceiver
    ) -> None:
        """DNS rebinding: an allowed address first, a private one later."""
        answers = iter(["127.0.0.1", "127.0.0.1", "10.0.0.1"])
        resolved: list[str] = []

        def look_up(host: str, port: int) -> list[str]:
            resolved.append(host)
            return [next(answers)]

        poster = SafeHttpClient(LOOPBACK, resolver=look_up)
        url = f"http://rebound.example:{receiver.port}/"
        assert [poster.post(url, b"", {}), poster.post(url, b"", {})] == [204, 204]
        with pytest.raises(DestinationNotAllowed):
            poster.post(url, b"", {})
        assert resolved == ["rebound.example"] * 3
        assert receiver.connections == 2
        assert receiver.requests[0][0]["host"] == f"rebound.example:{receiver.port}"

    def test_public_addresses_need_https(self) -> None:
        poster = SafeHttpClient(LOOPBACK, resolver=lambda host, port: ["1.1.1.1"])
        for url in ("http://public.example/", "https://public.example:25/"):
            with pytest.raises(DestinationNotAllowed, match="need https"):
                poster.post(url, b"", {})

    def test_the_certificate_must_match_the_name(self, tmp_path: Path) -> None:
        server, client = _tls(tmp_path, "hooks.example")
        with run_receiver(server) as receiver:
            poster = SafeHttpClient(LOOPBACK, resolver=lambda host, port: ["127.0.0.1"], tls=client)
            assert poster.post(f"https://hooks.example:{receiver.port}/", b"", {}) == 204
            with pytest.raises(NoResponse, match=r"certificate is invalid: .*other\.example"):
                poster.post(f"https://other.example:{receiver.port}/", b"", {})
            assert len(receiver.requests) == 1


class TestHostileReceivers:
    def test_unreachable(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            with pytest.raises(NoResponse, match="could not be reached"):
                post(f"http://127.0.0.1:{free.getsockname()[1]}/")

    def test_unknown_host_name(self) -> None:
        def look_up(host: str, port: int) -> list[str]:
            raise socket.gaierror(-2, "Name or service not known")

        with pytest.raises(NoResponse, match="could not be resolved"):
            SafeHttpClient(resolver=look_up).post("https://nobody.example/", b"", {})

    def test_host_name_that_cannot_be_encoded(self) -> None:
        def look_up(host: str, port: int) -> list[str]:
            raise UnicodeError("label empty or too long")

        with pytest.raises(NoResponse, match="host name is not valid"):
            SafeHttpClient(resolver=look_up).post("https://nobody.example/", b"", {})

    def test_silent(self, receiver: WebhookReceiver) -> None:
        receiver.respond = lambda connection: connection.recv(1)
        with pytest.raises(NoResponse, match="in time"):
            post(receiver.url, seconds=0.2)

    def test_one_byte_at_a_time(self, receiver: WebhookReceiver) -> None:
        """Each byte arrives in time; the response never ends."""

        def drip(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while True:
                connection.sendall(b"x")
                time.sleep(0.01)

        receiver.respond = drip
        with pytest.raises(NoResponse, match="in time"):
            post(receiver.url, seconds=0.3)

    def test_endless_informational_responses(self, receiver: WebhookReceiver) -> None:
        def wait(connection: socket.socket) -> None:
            while True:
                connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
                time.sleep(0.01)

        receiver.respond = wait
        with pytest.raises(NoResponse, match="in time"):
            post(receiver.url, seconds=0.3)

    def test_endless_response_headers(self, receiver: WebhookReceiver) -> None:
        def flood(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while True:
                connection.sendall(b"X: " + b"x" * 65536 + b"\r\n")

        receiver.respond = flood
        with pytest.raises(NoResponse, match="closed the connection"):
            post(receiver.url)

    def test_an_endless_body_is_not_read(self, receiver: WebhookReceiver) -> None:
        def flood(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(b"x" * 65536)

        receiver.respond = flood
        assert post(receiver.url) == 200

    @pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n"])
    def test_responses_that_are_not_http(self, receiver: WebhookReceiver, answer: bytes) -> None:
        receiver.respond = lambda connection: connection.sendall(answer)
        with pytest.raises(NoResponse, match="closed the connection"):
            post(receiver.url)


def _tls(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Create a server context with a certificate for `name`, and a client one that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=pem)


def test_resolve_returns_an_ip_address_unchanged() -> None:
    assert resolve("127.0.0.1", 443) == ["127.0.0.1"]
    assert ip_address(resolve("localhost", 443)[0]).is_loopback
