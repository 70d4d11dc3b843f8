"""Facts about a base model from its repository on the hub or its folder, without its weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

TIMEOUT_SECONDS = 30.0
SMALL_FILES = ("config.json", "tokenizer_config.json")
# A config is a few kilobytes; a tokenizer's may list thousands of special tokens.
MAX_SMALL_FILE_BYTES = 16 * 2**20


class SourceUnusable(Exception):
    """The source cannot be read; the message is a sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class BaseModelFiles:
    """Files of a base model: their sizes, and the content of the small ones.

    `source` is for the catalog; of the hub, with the commit that was read.
    """

    source: str
    sizes: Mapping[str, int]
    config: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any] = field(default_factory=dict)
    license: str = ""


def read_source(source: str, *, endpoint: str, token: SecretStr | None) -> BaseModelFiles:
    """Read `hf:OWNER/NAME`, `hf:OWNER/NAME@REVISION` or `path:/FOLDER`. Raises SourceUnusable."""
    scheme, _, location = source.partition(":")
    if scheme == "hf" and "/" in location:
        repository, _, revision = location.partition("@")
        return _Hub(endpoint, token).read(repository, revision or "main")
    if scheme == "path" and location:
        return _read_folder(Path(location))
    raise SourceUnusable(f"{source!r} is no source. Write hf:OWNER/NAME or path:/FOLDER.")


def _read_folder(folder: Path) -> BaseModelFiles:
    if not folder.is_dir():
        raise SourceUnusable(f"There is no folder {folder}.")
    found = {
        name: _parse(name, (folder / name).read_bytes())
        for name in SMALL_FILES
        if (folder / name).is_file()
    }
    return BaseModelFiles(
        source=f"path:{folder.resolve()}",
        sizes={path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()},
        config=found.get("config.json", {}),
        tokenizer_config=found.get("tokenizer_config.json", {}),
    )


class _Hub:
    """The hub's HTTP API. A token is for repositories whose licence its owner has accepted."""

    def __init__(self, endpoint: str, token: SecretStr | None) -> None:
        headers = {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        self._endpoint = endpoint.rstrip("/")
        self._client = httpx.Client(headers=headers, timeout=TIMEOUT_SECONDS, follow_redirects=True)

    def read(self, repository: str, revision: str) -> BaseModelFiles:
        with self._client:
            path = f"/api/models/{repository}/revision/{revision}"
            document = _parse(path, self._get(repository, path, {"blobs": "true"}))
            commit = str(document.get("sha", ""))
            sizes = {
                str(file["rfilename"]): int(file.get("size") or 0)
                for file in document.get("siblings", [])
            }
            found = {
                name: _parse(name, self._get(repository, f"/{repository}/resolve/{commit}/{name}"))
                for name in SMALL_FILES
                if name in sizes
            }
        card = document.get("cardData") or {}
        return BaseModelFiles(
            source=f"hf:{repository}@{commit}",
            sizes=sizes,
            config=found.get("config.json", {}),
            tokenizer_config=found.get("tokenizer_config.json", {}),
            license=str(card.get("license_name") or card.get("license") or ""),
        )

    def _get(self, repository: str, path: str, params: Mapping[str, str] | None = None) -> bytes:
        try:
            with self._client.stream("GET", self._endpoint + path, params=params) as response:
                if response.is_error:
                    raise SourceUnusable(self._describe(repository, response))
                content = b""
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > MAX_SMALL_FILE_BYTES:
                        raise SourceUnusable(f"{path} of {repository} is too long to be a config.")
                return content
        except httpx.HTTPError as error:
            raise SourceUnusable(
                f"The hub at {self._endpoint} cannot be reached: {error}. Download the model into "
                "a folder on a machine that can, and add it as path:/FOLDER."
            ) from error

    def _describe(self, repository: str, response: httpx.Response) -> str:
        """Describe an error. Without a token, the hub hides whether a repository exists."""
        code = response.headers.get("x-error-code", "")
        page = f"{self._endpoint}/{repository}"
        if code == "GatedRepo" or response.status_code == 403:
            return (
                f"{repository} is gated. Accept its licence at {page}, and set HF_TOKEN to a token "
                "of that account, for this command and for the trainers."
            )
        if code == "RevisionNotFound":
            return f"{repository} has no such revision. Its commits are at {page}/commits/main."
        if response.status_code in (401, 404):
            return (
                f"{repository} does not exist, or is private: check the name at {page}. For a "
                "private repository set HF_TOKEN."
            )
        return f"The hub answered {response.status_code} for {repository}. Try again later."


def _parse(name: str, content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise SourceUnusable(f"{name} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise SourceUnusable(f"{name} is not a JSON object.")
    return document
