"""`parts`: speed and memory of a file of gigabytes sent through /v1/uploads with the SDK.

Stored in S3 if S3_BUCKET and the other S3 variables are set, otherwise in a folder.
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
from app.organization import api_keys, bootstrap
from bench.api.report import print_result, repeat_rows
from bench.api.servers import ServerProcess, run_api, run_backing_services

CONCURRENT_PARTS = 4
# Upper bound on the row that holds a part's number.
NUMBER_ROW_BYTES = 200


def run(arguments: argparse.Namespace) -> None:
    if arguments.mebibytes < 1:
        raise SystemExit("--mebibytes must be 1 or more")
    block = repeat_rows(arguments.data, max_block_bytes(arguments.data))
    count = max(1, arguments.mebibytes * 2**20 // MAX_PART_BYTES)
    with run_backing_services() as services:
        with one_off_transaction(services.database_url) as session:
            project = bootstrap.ensure_default_project(session, services.settings.organization_slug)
            _, key = api_keys.create(session, project.id, "bench")
            session.commit()
        with run_api(services.environ) as server:
            base_url = f"http://127.0.0.1:{server.port}/v1"
            upload(OpenAI(base_url=base_url, api_key=key, timeout=1800), server, block, count)


def max_block_bytes(data: Path) -> int:
    """Bytes of rows that fit into a part, next to the row with its number.

    Raises SystemExit for a file of which not one copy fits.
    """
    # `repeat_rows` adds a final line feed where the file has none.
    limit = MAX_PART_BYTES - NUMBER_ROW_BYTES - 1
    size = data.stat().st_size
    if not 0 < size <= limit:
        raise SystemExit(f"{data} has {size} bytes; a part needs 1 to {limit}")
    return limit


def numbered_part(number: int, block: bytes) -> bytes:
    """A part whose first row contains its number, so that no two parts have the same checksum."""
    messages = [
        {"role": "user", "content": f"{number:09}"},
        {"role": "assistant", "content": "Yes."},
    ]
    return json.dumps({"messages": messages}).encode() + b"\n" + block


def upload(client: OpenAI, server: ServerProcess, block: bytes, count: int) -> None:
    """Send parts concurrently, then complete the upload, which validates the file in one pass."""
    size = 0
    digest = hashlib.md5(usedforsecurity=False)
    for number in range(count):
        data = numbered_part(number, block)
        size += len(data)
        digest.update(data)
    created = client.uploads.create(
        bytes=size, filename="a.jsonl", mime_type="application/jsonl", purpose="fine-tune"
    )

    def send_part(number: int) -> str:
        return client.uploads.parts.create(created.id, data=numbered_part(number, block)).id

    with server.measure_rss_growth() as rss_growth:
        started = time.perf_counter()
        with ThreadPoolExecutor(CONCURRENT_PARTS) as pool:
            part_ids = list(pool.map(send_part, range(count)))
        upload_seconds = time.perf_counter() - started
        started = time.perf_counter()
        completed = client.uploads.complete(created.id, part_ids=part_ids, md5=digest.hexdigest())
        complete_seconds = time.perf_counter() - started
    file = completed.file
    if file is None or file.bytes != size:
        raise SystemExit(f"The upload was not completed: {completed}")
    print_result(
        arm="parts",
        gigabytes=round(size / 1e9, 2),
        parts=count,
        mb_per_second=round(size / upload_seconds / 1e6, 1),
        complete_mb_per_second=round(size / complete_seconds / 1e6, 1),
        rss_growth_mb=round(rss_growth[0] / 1e6, 1),
    )
