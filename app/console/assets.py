"""Static files of the console, named by their content so that browsers may keep them forever."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from app.errors import NotFound
from app.http.console_cookie import CONSOLE_PATH

FOLDER = Path(__file__).parent / "static"
CACHE_CONTROL = "public, max-age=31536000, immutable"

router = APIRouter(prefix=f"{CONSOLE_PATH}/static", include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file, compressed once. `digest` is the part of its URL that changes with its content."""

    content: bytes
    compressed: bytes
    media_type: str
    digest: str


@cache
def load_assets() -> dict[str, Asset]:
    """Load all files, by their path below the folder."""
    return {
        path.relative_to(FOLDER).as_posix(): _load(path)
        for path in FOLDER.rglob("*")
        if path.suffix in (".js", ".css", ".svg")
    }


def build_url(name: str) -> str:
    """The path of a file's URL, without the prefix of a reverse proxy."""
    return f"{CONSOLE_PATH}/static/{load_assets()[name].digest}/{name}"


@router.get("/{digest}/{name:path}")
async def get_asset(digest: str, name: str, request: Request) -> Response:
    asset = load_assets().get(name)
    if asset is None or asset.digest != digest:
        raise NotFound(f"No static file: {name}")
    headers = {"cache-control": CACHE_CONTROL, "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(asset.compressed, media_type=asset.media_type, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)


def _load(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(
        content=content,
        compressed=gzip.compress(content, 9, mtime=0),
        media_type=mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        digest=hashlib.sha256(content).hexdigest()[:16],
    )
