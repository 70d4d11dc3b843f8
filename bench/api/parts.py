"""`parts`: a file of gigabytes through /v1/uploads, with the SDK: how fast, and in how much memory.

Into what S3_BUCKET and the like name, if they are set, else into a folder.
"""

import argparse
import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from openai import OpenAI

from app.db.session import one_off_transaction
from app.files.uploads import MAX_PART_BYTES
from app.organization import api_keys
from bench.api.report import rows, say
from bench.api.servers import Watched, luthier, stack

AT_ONCE = 4
# More than the row takes that holds a part's number.
ROW_BYTES = 200


def run(asked: argparse.Namespace) -> None:
    if asked.mebibytes < 1:
        raise SystemExit("--mebibytes must be 1 or more")
    block = rows(asked.data, rows_bytes(asked.data))
    count = max(1, asked.mebibytes * 2**20 // MAX_PART_BYTES)
    with stack() as around:
        with one_off_transaction(around.database_url) as session:
            project = api_keys.ensure_default_project(session, around.settings.organization_slug)
            _, key = api_keys.create(session, project.id, "bench")
            session.commit()
        with luthier(around.environ) as server:
            base_url = f"http://127.0.0.1:{server.port}/v1"
            send(OpenAI(base_url=base_url, api_key=key, timeout=1800), server, block, count)


def rows_bytes(data: Path) -> int:
    """How many bytes of rows a part has room for beside the row with its number.

    Raises SystemExit for a file of which not one copy fits.
    """
    # `rows` adds a line's end where a file has none.
    room = MAX_PART_BYTES - ROW_BYTES - 1
    size = data.stat().st_size
    if not 0 < size <= room:
        raise SystemExit(f"{data} has {size} bytes; a part needs 1 to {room}")
    return room


def numbered(number: int, block: bytes) -> bytes:
    """A part like no other: its number is in its first row, so that no two share a checksum."""
    turns = [{"role": "user", "content": f"{number:09}"}, {"role": "assistant", "content": "Yes."}]
    return json.dumps({"messages": turns}).encode() + b"\n" + block


def send(client: OpenAI, server: Watched, block: bytes, count: int) -> None:
    """Parts beside each other, then one pass over all of them, which judges the file."""
    size = 0
    digest = hashlib.md5(usedforsecurity=False)
    for number in range(count):
        data = numbered(number, block)
        size += len(data)
        digest.update(data)
    upload = client.uploads.create(
        bytes=size, filename="a.jsonl", mime_type="application/jsonl", purpose="fine-tune"
    )

    def part(number: int) -> str:
        return client.uploads.parts.create(upload.id, data=numbered(number, block)).id

    with server.growth() as grown:
        started = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            ids = list(pool.map(part, range(count)))
        sent = time.perf_counter() - started
        started = time.perf_counter()
        done = client.uploads.complete(upload.id, part_ids=ids, md5=digest.hexdigest())
        joined = time.perf_counter() - started
    file = done.file
    if file is None or file.bytes != size:
        raise SystemExit(f"The upload was not completed: {done}")
    say(
        arm="parts",
        gigabytes=round(size / 1e9, 2),
        parts=count,
        mb_per_second=round(size / sent / 1e6, 1),
        complete_mb_per_second=round(size / joined / 1e6, 1),
        rss_growth_mb=round(grown[0] / 1e6, 1),
    )
