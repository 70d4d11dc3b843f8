"""`upload`: one training file, judged on the way, beside bare routes that keep the same body."""

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
from app.organization import api_keys
from bench.api.report import measure, rows
from bench.api.servers import Watched, bare, luthier, stack

CHUNK = 2**20
BOUNDARY = "bench-boundary"
FOLDER = "BENCH_FOLDER"


def run(asked: argparse.Namespace) -> None:
    block = rows(asked.data, 4 * CHUNK)
    blocks = asked.mebibytes * 2**20 // len(block)
    size = blocks * len(block)
    with stack() as around, tempfile.TemporaryDirectory() as folder:
        with one_off_transaction(around.database_url) as session:
            project = api_keys.ensure_default_project(session, around.settings.organization_slug)
            _, key = api_keys.create(session, project.id, "bench")
            session.commit()
        with (
            luthier(around.environ) as ours,
            bare("bench.api.uploads:create_app", around.environ | {FOLDER: folder}) as peer,
        ):

            def to(server: Watched, path: str) -> Callable[[], dict[str, float]]:
                def arm() -> dict[str, float]:
                    with server.growth() as grown:
                        told = send(server.port, path, block, blocks, key)
                    if told.get("status", "processed") != "processed":
                        raise SystemExit(f"The file was not found good: {told}")
                    return {"rss_growth_mb": round(grown[0] / 1e6, 1)}

                return arm

            arms = {
                "luthier": to(ours, "/v1/files"),
                "bare stream to a file": to(peer, "/stream"),
                "bare UploadFile": to(peer, "/form"),
            }
            measure(arms, size, asked.rounds)


def create_app() -> FastAPI:
    """What a route costs that keeps a body and does nothing else."""
    app, folder = FastAPI(), Path(os.environ[FOLDER])

    @app.post("/stream")
    async def stream(request: Request) -> None:
        with (folder / "stream").open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)

    @app.post("/form")
    def form(file: UploadFile) -> None:
        with (folder / "form").open("wb") as target:
            shutil.copyfileobj(file.file, target, CHUNK)

    return app


def send(port: int, path: str, block: bytes, blocks: int, key: str) -> dict[str, object]:
    """One multipart upload of so many blocks, in the memory of one."""
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
    connection = HTTPConnection("127.0.0.1", port, timeout=600, blocksize=CHUNK)
    connection.request("POST", path, body(), headers)
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{path} answered {answer.status}: {told[:500]!r}")
    shown: dict[str, object] = orjson.loads(told) or {}
    return shown
