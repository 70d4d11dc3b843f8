"""The documented configurations of nginx and Caddy, run in front of the API where installed."""

import re
import shutil
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from tests.http_client import TIMEOUT_SECONDS
from tests.live_api import Account, Api
from tests.live_server import FakeEngine, run_server
from tests.polling import wait_until
from tests.ports import free_port

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deploy" / "reverse-proxy.md"
HOST = "luthier.example.com"
# Another address of this machine, which is no proxy.
CLIENT = "127.0.0.2"


def documented(language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert match is not None
    return match[1]


def nginx(folder: Path, port: int, upstream: str) -> list[str]:
    """Write the configuration for this port and upstream; return the command."""
    server = documented("nginx").replace("443 ssl", f"127.0.0.1:{port} ssl")
    server = server.replace("127.0.0.1:8000", upstream)
    server = re.sub(r"/etc/letsencrypt\S+/(fullchain|privkey)\.pem", rf"{folder}/\1.pem", server)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; user root;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}{server}}}\n"
    )
    return ["nginx", "-c", f"{folder}/nginx.conf", "-p", str(folder)]


def caddy(folder: Path, port: int, upstream: str) -> list[str]:
    site = documented("caddyfile").replace("127.0.0.1:8000", upstream)
    tls = f"tls {folder}/fullchain.pem {folder}/privkey.pem"
    site = site.replace(f"{HOST} {{", f"https://127.0.0.1:{port} {{\n{tls}")
    (folder / "Caddyfile").write_text(f"{{\nadmin off\nauto_https off\n}}\n{site}")
    return ["caddy", "run", "--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"]


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxied(
    request: pytest.FixtureRequest, api: Api, engine: FakeEngine, tmp_path: Path
) -> Iterator[str]:
    """The API behind a proxy, which it trusts; yields the proxy's URL."""
    configure: Callable[[Path, int, str], list[str]] = request.param
    if shutil.which(configure.__name__) is None or shutil.which("openssl") is None:
        pytest.skip(f"{configure.__name__} is not installed")
    keys = ["-keyout", f"{tmp_path}/privkey.pem", "-out", f"{tmp_path}/fullchain.pem"]
    request_certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
    options = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*request_certificate, *options, *keys], check=True, capture_output=True)
    settings = Settings(
        **{
            **api.state.settings.model_dump(),
            "trusted_proxies": "127.0.0.1",
            "security_log": str(tmp_path / "security.log"),
        }
    )
    port = free_port()
    with run_server(create_app(settings)) as url:
        environment = {"HOME": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        process = subprocess.Popen(
            configure(tmp_path, port, url.removeprefix("http://")), env=environment
        )
        try:
            proxy = f"https://127.0.0.1:{port}"
            wait_until("the proxy answers", lambda: is_serving(proxy, tmp_path))
            yield proxy
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def is_serving(url: str, folder: Path) -> bool:
    try:
        with client_of(folder) as client:
            return client.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def client_of(folder: Path, secret: str = "wrong") -> httpx.Client:
    context = ssl.create_default_context(cafile=str(folder / "fullchain.pem"))
    return httpx.Client(
        transport=httpx.HTTPTransport(verify=context, local_address=CLIENT),
        headers={"Authorization": f"Bearer {secret}"},
        timeout=TIMEOUT_SECONDS,
    )


def test_a67_the_proxy_reports_its_client_and_not_what_that_claims(
    proxied: str, tmp_path: Path
) -> None:
    with client_of(tmp_path) as client:
        claimed = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
        assert client.get(f"{proxied}/v1/models", headers=claimed).status_code == 401
    log = tmp_path / "security.log"
    wait_until("the refusal is recorded", lambda: log.exists() and log.read_text().strip())
    assert f'"address":"{CLIENT}"' in log.read_text()


def test_streams_pass_without_a_buffer(proxied: str, account: Account, tmp_path: Path) -> None:
    """The engine never ends this stream; when the client leaves, the engine is told."""
    messages = [{"role": "user", "content": "forever"}]
    body = {"model": "base", "messages": messages, "stream": True}
    with client_of(tmp_path, account.secret) as client:
        url = f"{proxied}/v1/chat/completions"
        with client.stream("POST", url, json=body) as response:
            assert "Hel" in next(response.iter_text())


def test_a_large_file_passes(proxied: str, account: Account, tmp_path: Path) -> None:
    turns = b'{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}'
    line = b'{"messages": [' + turns + b"]}\n"
    files = {"file": ("train.jsonl", line * 35_000)}
    with client_of(tmp_path, account.secret) as client:
        uploaded = client.post(f"{proxied}/v1/files", data={"purpose": "fine-tune"}, files=files)
    assert (uploaded.status_code, uploaded.json()["bytes"]) == (200, len(line) * 35_000)
