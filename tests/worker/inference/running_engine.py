"""An engine in this process, serving a tiny model over HTTP, and a client of it."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families

from app.catalog import CatalogModel
from app.engine_options import DEFAULT_OPTIONS
from app.settings import Settings
from app.storage import MARKER_KEY, LocalStore
from tests.polling import wait_until
from tests.ports import free_port
from tests.worker.inference.tiny_model import load_tiny, make_adapter
from worker.inference.main import make_server

HELLO: Any = [{"role": "user", "content": "hello"}]
# So long that a generation outlasts any test.
LONG_CONTEXT = 50_000
SHORT_CONTEXT = 64
BRIEF_TOKENS = 7
# The end-of-turn token.
END = "2"
PREFIX = "projects/p/jobs/j/attempt-1/step-6"
TUNED_MODEL = "ft:tiny:luthier:desk:AbCdEf12"


@dataclass
class EngineClient:
    url: str

    @property
    def client(self) -> OpenAI:
        return OpenAI(
            base_url=f"{self.url}/v1",
            api_key="none",
            max_retries=0,
            _strict_response_validation=True,
        )

    def http(self, method: str, path: str, **content: Any) -> httpx.Response:
        return httpx.request(method, self.url + path, timeout=120, **content)

    def is_ready(self) -> bool:
        return self.http("GET", "/health").status_code == 200

    def metric(self, name: str) -> int:
        """Return a metric's sum over the base models."""
        families = text_string_to_metric_families(self.http("GET", "/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        return int(sum(s.value for s in samples if s.name == f"luthier_engine_{name}"))

    def load_adapter(
        self, name: str = TUNED_MODEL, path: str = PREFIX, base: str = "tiny"
    ) -> httpx.Response:
        body = {"lora_name": name, "lora_path": path, "base_model_name": base}
        return self.http("POST", "/v1/load_lora_adapter", json=body)


def catalog_entry(model: CatalogModel, **changes: Any) -> str:
    """A base model's table of models.toml; JSON strings, lists and numbers are valid TOML."""
    changed = replace(model, **changes)
    # The JSON of an entry has no engine: keys may be in it.
    values = changed.to_json() | {"engine": changed.engine}
    if changed.engine_options != DEFAULT_OPTIONS:
        values["engine_options"] = asdict(changed.engine_options)
    return toml_table(values)


def toml_table(values: dict[str, Any]) -> str:
    """One table of models.toml, of the fields that are not None."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in _flatten(values.items())]
    return "\n".join(["[[model]]", *lines, ""])


def _flatten(values: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for name, value in values:
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", each) for inner, each in value.items())
        elif value is not None:
            yield name, value


@contextmanager
def running_engine(home: Path, *entries: str, port: int | None = None) -> Iterator[EngineClient]:
    """Run an engine with its data in `home`."""
    (home / "models.toml").write_text("\n".join(entries))
    url = f"http://127.0.0.1:{port or free_port()}"
    server = make_server(
        Settings(
            home=home,
            models_file=home / "models.toml",
            engine_url=url,
            max_body_bytes=2**20,
        )
    )
    running = threading.Thread(target=asyncio.run, args=[server.serve()])
    running.start()
    engine = EngineClient(url)
    wait_until("the engine listens", lambda: server.started)
    wait_until("the first model is loaded", engine.is_ready)
    yield engine
    server.request_exit()
    running.join(120)
    assert not running.is_alive(), "the server did not exit"


def store_adapter(home: Path, base_folder: Path, **config: Any) -> None:
    make_adapter(load_tiny(base_folder), home / "made", r=4, **config)
    LocalStore(home / "storage").put(MARKER_KEY, b"the storage of a test")
    for name in ("adapter_config.json", "adapter_model.safetensors", "manifest.json"):
        LocalStore(home / "storage").upload(home / "made" / name, f"{PREFIX}/{name}")


@contextmanager
def running_chat_engine(
    home: Path, base_folder: Path, base_model: CatalogModel
) -> Iterator[EngineClient]:
    """Run an engine with a stored adapter; models: usable, short, brief, broken and remote."""
    store_adapter(home, base_folder, lora_alpha=64, target_modules="all-linear")
    entries = [
        catalog_entry(base_model, context_length=LONG_CONTEXT, aliases=["gpt-4o-mini"]),
        catalog_entry(base_model, id="short", context_length=SHORT_CONTEXT),
        catalog_entry(base_model, id="brief", max_completion_tokens=BRIEF_TOKENS),
        catalog_entry(base_model, id="broken", source="path:/nowhere"),
        catalog_entry(base_model, id="elsewhere", engine="http://127.0.0.1:1"),
    ]
    with running_engine(home, *entries) as engine:
        yield engine


def make_greedy_chat(client: OpenAI) -> Callable[..., Any]:
    """A greedy chat completion of 20 tokens, whose fields can be changed."""

    def ask(**changes: Any) -> Any:
        fields = {"model": "tiny", "messages": HELLO, "temperature": 0, "max_tokens": 20}
        # The end-of-turn token is banned, so that lengths are known.
        return client.chat.completions.create(**{"logit_bias": {END: -100}, **fields, **changes})

    return ask
