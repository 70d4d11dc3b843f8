"""Static files: the vendored ones as they were released, all of them small and cacheable."""

import hashlib
from pathlib import Path

import httpx

from app.console import assets
from tests.live_api import Api

VENDOR = assets.FOLDER / "vendor"


def test_the_vendored_files_are_the_released_ones() -> None:
    lines = (VENDOR / "SHA256SUMS").read_text().splitlines()
    expected = {name: digest for digest, name in (line.split() for line in lines)}
    files: list[Path] = [path for path in VENDOR.iterdir() if path.suffix in (".js", ".css")]
    actual = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert actual == expected


def test_a_static_file_is_compressed_and_kept_by_browsers(api: Api) -> None:
    url = api.url + assets.build_url("console.css")
    response = httpx.get(url, headers={"accept-encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert "immutable" in response.headers["cache-control"]
    assert response.content == (assets.FOLDER / "console.css").read_bytes()
    plain = httpx.get(url, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == response.content


def test_a_changed_file_has_another_url(api: Api) -> None:
    stale = f"{api.url}/console/static/0000000000000000/console.css"
    assert httpx.get(stale).status_code == 404
