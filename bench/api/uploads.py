"""`upload`: one training file, validated while it streams, against routes that only store it."""

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import orjson
from fastapi import FastAPI, Request, UploadFile

from app.db.session import one_off_transaction
from app.organization import api_keys, bootstrap
from bench.api.report import measure, repeat_rows
from bench.api.servers import ServerProcess, run_api, run_backing_services, run_bare_app

CHUNK_BYTES = 2**20
BOUNDARY = "bench-boundary"
FOLDER_VARIABLE = "BENCH_FOLDER"


def run(arguments: argparse.Namespace) -> None:
    block = repeat_rows(arguments.data, 4 * CHUNK_BYTES)
    blocks = arguments.mebibytes * 2**20 // len(block)
    size = blocks * len(block)
    with run_backing_services() as services, tempfile.TemporaryDirectory() as folder:
        with one_off_transaction(services.database_url) as session:
            project = bootstrap.ensure_default_project(session, services.settings.organization_slug)
            _, key = api_keys.create(session, project.id, "bench")
            session.commit()
        with (
            run_api(services.environ) as api,
            run_bare_app(
                "bench.api.uploads:create_app", services.environ | {FOLDER_VARIABLE: folder}
            ) as bare,
        ):

            def upload_to(server: ServerProcess, path: str) -> Callable[[], dict[str, float]]:
                def arm() -> dict[str, float]:
                    with server.measure_rss_growth() as rss_growth:
                        file = send(server.port, path, block, blocks, key)
                    if file.get("status", "processed") != "processed":
                        raise SystemExit(f"The file was not accepted: {file}")
                    return {"rss_growth_mb": round(rss_growth[0] / 1e6, 1)}

                return arm

            arms = {
                "luthier": upload_to(api, "/v1/files"),
                "bare stream to a file": upload_to(bare, "/stream"),
                "bare UploadFile": upload_to(bare, "/form"),
            }
            measure(arms, size, arguments.rounds)


def create_app() -> FastAPI:
    """Routes that store a request body and do nothing else."""
    app, folder = FastAPI(), Path(os.environ[FOLDER_VARIABLE])

    @app.post("/stream")
    async def stream(request: Request) -> None:
        with (folder / "stream").open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)

    @app.post("/form")
    def form(file: UploadFile) -> None:
        with (folder / "form").open("wb") as target:
            shutil.copyfileobj(file.file, target, CHUNK_BYTES)

    return app


def send(port: int, path: str, block: bytes, blocks: int, key: str) -> dict[str, object]:
    """Stream one multipart upload that repeats `block`; the JSON response, or {} for null."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    ).encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(blocks):
            yield block
        yield tail

    headers = {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(len(head) + blocks * len(block) + len(tail)),
        "Authorization": f"Bearer {key}",
    }
    connection = HTTPConnection("127.0.0.1", port, timeout=600, blocksize=CHUNK_BYTES)
    connection.request("POST", path, body(), headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    if response.status != 200:
        raise SystemExit(f"{path} responded with {response.status}: {content[:500]!r}")
    result: dict[str, object] = orjson.loads(content) or {}
    return result
