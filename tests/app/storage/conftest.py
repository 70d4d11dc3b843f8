"""Fixtures: a store in a directory and one in a bucket of a moto S3 server, empty per test."""

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boto3.session import Session

from app.settings import Settings
from app.storage import ObjectStore, open_store
from tests.ports import free_port


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """URL of a moto server in its own process."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        _wait_for(server, port)
        yield f"http://127.0.0.1:{port}"
        server.terminate()


@pytest.fixture(scope="session")
def s3_client(s3_url: str) -> Any:
    """Client for what a store does not do, such as creating buckets. Slow to make, so shared."""
    session = Session(
        aws_access_key_id="id", aws_secret_access_key="secret", region_name="us-east-1"
    )
    return session.client("s3", endpoint_url=s3_url)


@pytest.fixture
def s3_settings(s3_url: str, s3_client: Any) -> Settings:
    bucket = f"luthier-{uuid.uuid4()}"
    s3_client.create_bucket(Bucket=bucket)
    return Settings(
        s3_bucket=bucket,
        s3_endpoint_url=s3_url,
        s3_access_key_id="id",
        s3_secret_access_key="secret",
    )


@pytest.fixture(params=["directory", "bucket"])
def store_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings for each kind of store, as an operator would write them."""
    if request.param == "directory":
        return Settings(home=tmp_path / "home", s3_bucket=None)
    settings: Settings = request.getfixturevalue("s3_settings")
    return settings


@pytest.fixture
def store(store_settings: Settings) -> ObjectStore:
    return open_store(store_settings)


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise RuntimeError(f"the S3 server exited with {server.returncode}")
