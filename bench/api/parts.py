"""`parts`: a file of gigabytes through /v1/uploads, with the SDK: how fast, and in how much memory.

Into what S3_BUCKET and the like name, if they are set, else into a folder.
"""

import argparse
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI

from app.db.session import once
from app.services import keys
from app.services.uploads import PART_BYTES
from bench.api.report import rows, say
from bench.api.servers import Watched, luthier, stack

AT_ONCE = 4


def run(asked: argparse.Namespace) -> None:
    block = rows(asked.data, PART_BYTES - asked.data.stat().st_size)
    count = max(1, asked.mebibytes * 2**20 // len(block))
    with stack() as around:
        with once(around.database_url) as session:
            project = keys.ensure_default_project(session, around.settings.organization)
            _, key = keys.create(session, project.id, "bench")
            session.commit()
        with luthier(around.environ) as server:
            base_url = f"http://127.0.0.1:{server.port}/v1"
            send(OpenAI(base_url=base_url, api_key=key, timeout=1800), server, block, count)


def send(client: OpenAI, server: Watched, block: bytes, count: int) -> None:
    """Parts beside each other, then one pass over all of them, which judges the file."""
    size = count * len(block)
    digest = hashlib.md5(usedforsecurity=False)
    for _ in range(count):
        digest.update(block)
    upload = client.uploads.create(
        bytes=size, filename="a.jsonl", mime_type="application/jsonl", purpose="fine-tune"
    )

    def part(_: int) -> str:
        return client.uploads.parts.create(upload.id, data=block).id

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
