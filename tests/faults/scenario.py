"""One fault scenario: the service's real processes, a client that retries, and database access."""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Row, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from app.db.session import create_database_engine, session_maker, transaction
from app.organization import api_keys, bootstrap
from app.storage import MARKER_KEY, LocalStore
from tests.faults.backing_services import BackingServices
from tests.faults.node import CANARY, Node
from tests.faults.object_store import StoreFault
from tests.ports import free_port

MODEL = "smollm2-135m-instruct"
TERMINAL = ("succeeded", "failed", "cancelled")


@dataclass
class History:
    """What the clients saw.

    responses  method, path and status of each response
    job_ids    jobs whose creation the API confirmed
    latencies  seconds until each response
    """

    responses: list[tuple[str, str, int]] = field(default_factory=list)
    job_ids: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)


class Scenario:
    """The processes of one scenario, each a node, and a test's means to act on them."""

    def __init__(self, servers: BackingServices, home: Path) -> None:
        self.services = servers
        self.home = home
        self.name = f"scenario-{secrets.token_hex(4)}"
        self.history = History()
        self.nodes: dict[str, Node] = {}
        self.files: dict[str, bytes] = {}
        self.local_storage: LocalStore | None = None
        servers.objects.faults.clear()
        servers.make_database(self.name)
        servers.objects.client().create_bucket(Bucket=self.name)
        self.url = servers.database_url(self.name)
        url = make_url(self.url).set(drivername="postgresql+psycopg")
        self._engine = create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
        self.project_id, self.secret = self._make_key()

    # Processes

    def start(
        self, *names: str, environment: dict[str, str] | None = None, **changes: Any
    ) -> list[Node]:
        """Start processes, each named by its kind and a number: `api-1`, `trainer-2`, `io-1`.

        `changes` are settings, `environment` are further variables of these processes.
        """
        started = []
        for name in names:
            given: dict[str, Any] = {"port": free_port()} if name.startswith("api") else {}
            if self.local_storage is not None:
                self._link_local_storage(self.home / name)
                given["s3_bucket"] = None
            node = self.nodes[name] = Node(
                self.services, self.name, self.home / name, name, **given, **changes
            )
            node.start(**environment or {})
            started.append(node)
            # The next API must not choose the same port before this one listens.
            if name.startswith("api"):
                self.wait_until(f"{name} is ready", node.is_ready)
        return started

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def close(self) -> None:
        self.services.objects.faults.clear()
        for node in self.nodes.values():
            node.close()
        self._engine.dispose()

    # Clients

    def request(
        self, method: str, path: str, *, api: str = "api-1", seconds: float = 60, **options: Any
    ) -> httpx.Response:
        """Send a request and retry as the official SDKs do: lost connection, 409, 429, 5xx."""
        deadline = time.monotonic() + seconds
        headers = {"Authorization": f"Bearer {self.secret}", **options.pop("headers", {})}
        retries, last_error = 0, "no response"
        while True:
            headers["x-stainless-retry-count"] = str(retries)
            retries += 1
            with suppress(httpx.TransportError):
                response = self.request_once(method, path, api=api, headers=headers, **options)
                if response.status_code not in (409, 429, 500, 502, 503):
                    return response
                last_error = response.text
            assert time.monotonic() < deadline, f"{method} {path}: {last_error} after {seconds} s"
            time.sleep(0.2)

    def request_once(
        self, method: str, path: str, *, api: str = "api-1", timeout: float = 30, **options: Any
    ) -> httpx.Response:
        """Send a request without retries. Raises httpx.TransportError."""
        port = self.nodes[api].settings.port
        options["headers"] = {"Authorization": f"Bearer {self.secret}"} | options.get("headers", {})
        began = time.monotonic()
        url = f"http://127.0.0.1:{port}{path}"
        response = httpx.request(method, url, timeout=timeout, trust_env=False, **options)
        self.history.latencies.append(time.monotonic() - began)
        self.history.responses.append((method, path, response.status_code))
        return response

    def upload_file(self, rows: int = 12, **directives: Any) -> str:
        """Upload a training file with directives for the deterministic trainer; the file's id."""
        data = training_file(rows, directives)
        response = self.request(
            "POST",
            "/v1/files",
            files={"file": ("train.jsonl", data)},
            data={"purpose": "fine-tune"},
        )
        assert response.status_code == 200, response.text
        file_id: str = response.json()["id"]
        self.files[file_id] = data
        return file_id

    def create_job(
        self, file_id: str, *, epochs: int = 3, batch_size: int = 4, **fields: Any
    ) -> str:
        """Create a job; its id. 12 rows in batches of 4 and 3 epochs are 9 steps."""
        body = job_body(file_id, epochs, batch_size, **fields)
        response = self.request("POST", "/v1/fine_tuning/jobs", json=body)
        assert response.status_code == 200, response.text
        job_id: str = response.json()["id"]
        self.record_job(job_id)
        return job_id

    def record_job(self, job_id: str) -> None:
        if job_id not in self.history.job_ids:
            self.history.job_ids.append(job_id)

    def post_job_action(self, action: str, job_id: str, **options: Any) -> httpx.Response:
        """Cancel, pause or resume a job, by that word."""
        return self.request("POST", f"/v1/fine_tuning/jobs/{job_id}/{action}", **options)

    # The database

    def query(self, statement: str, **values: Any) -> Sequence[Row[Any]]:
        with self._engine.connect() as connection:
            result = connection.execute(text(statement), values)
            return result.all() if result.returns_rows else []

    def query_value(self, statement: str, **values: Any) -> Any:
        """The only column of the first row, or None."""
        rows = self.query(statement, **values)
        return rows[0][0] if rows else None

    @contextmanager
    def lock_table(self, table: str) -> Iterator[None]:
        """Let nobody else read or write a table while the block runs."""
        options = {"isolation_level": "READ COMMITTED"}
        with self._engine.connect().execution_options(**options) as connection:
            with connection.begin():
                connection.execute(text(f"LOCK TABLE {table}"))
                yield

    def job_state(self, job_id: str) -> str:
        return str(self.query_value("SELECT state FROM jobs WHERE id = :id", id=job_id))

    def last_step(self, job_id: str) -> int:
        """The last step whose metrics are in the database."""
        step = self.query_value("SELECT max(step) FROM job_metrics WHERE job_id = :id", id=job_id)
        return 0 if step is None else int(step)

    def attempts(self, job_id: str) -> list[tuple[int, str]]:
        """Number and outcome of each attempt."""
        rows = self.query(
            "SELECT attempt, outcome FROM job_attempts WHERE job_id = :id ORDER BY attempt",
            id=job_id,
        )
        return [(row.attempt, row.outcome) for row in rows]

    def wait_until(
        self, condition: str, is_met: Callable[[], object], *, seconds: float = 240
    ) -> float:
        """Wait until a condition is met; the seconds that took. `condition` describes it."""
        began = time.monotonic()
        while not self._evaluate(is_met):
            waited = time.monotonic() - began
            assert waited < seconds, f"after {seconds} s still not: {condition}{self._describe()}"
            time.sleep(0.05)
        return time.monotonic() - began

    def wait_for_step(self, job_id: str, step: int, *, seconds: float = 240) -> float:
        condition = f"{job_id} is at step {step}"
        return self.wait_until(condition, lambda: self.last_step(job_id) >= step, seconds=seconds)

    def wait_for_jobs(self, *job_ids: str, seconds: float = 360) -> list[str]:
        """Wait until these jobs are in a terminal state; their states.

        The backoff before the next attempt at a crashed job is skipped: no scenario tests it.
        """

        def have_ended() -> bool:
            self.skip_backoff()
            return all(self.job_state(job_id) in TERMINAL for job_id in job_ids)

        self.wait_until(f"{job_ids} have ended", have_ended, seconds=seconds)
        return [self.job_state(job_id) for job_id in job_ids]

    def skip_backoff(self) -> None:
        self.query(
            "UPDATE jobs SET run_after = clock_timestamp()"
            " WHERE state = 'queued' AND run_after > clock_timestamp()"
        )

    def _evaluate(self, is_met: Callable[[], object]) -> bool:
        try:
            return bool(is_met())
        except OperationalError:
            # Some scenarios stop Postgres.
            return False

    def _describe(self) -> str:
        """Jobs, attempts and the ends of all logs, for a failure message."""
        lines = [""]
        with suppress(OperationalError):
            for row in self.query("SELECT id, state, attempt, error_message FROM jobs"):
                lines.append(f"{row} {self.attempts(row.id)} at step {self.last_step(row.id)}")
        for node in self.nodes.values():
            lines += [f"--- {node.name}", *node.log.splitlines()[-8:]]
        return "\n".join(lines)

    # The object store

    def inject_fault(self, method: str, pattern: str, **options: Any) -> StoreFault:
        """Inject a fault into requests on this scenario's bucket; `pattern` is a glob of keys."""
        return self.services.objects.faults.add(
            StoreFault(method, f"/{self.name}/{pattern}", **options)
        )

    def use_local_storage(self, folder: Path) -> None:
        """Let the nodes started from now on store in this folder, which is theirs in common."""
        self.local_storage = LocalStore(folder)

    def _link_local_storage(self, home: Path) -> None:
        assert self.local_storage is not None
        home.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            (home / "storage").symlink_to(self.local_storage.root)

    def list_keys(self, prefix: str = "") -> Iterator[str]:
        """List the keys of all objects but the marker."""
        return (key for key in self._list_all_keys(prefix) if key != MARKER_KEY)

    def _list_all_keys(self, prefix: str) -> Iterator[str]:
        if self.local_storage is not None:
            yield from self.local_storage.list(prefix)
            return
        pages = self.services.objects.client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.name, Prefix=prefix):
            yield from (entry["Key"] for entry in page.get("Contents", []))

    def read_object(self, key: str) -> bytes:
        if self.local_storage is not None:
            return self.local_storage.get(key)
        stored = self.services.objects.client().get_object(Bucket=self.name, Key=key)
        data: bytes = stored["Body"].read()
        return data

    def _make_key(self) -> tuple[str, str]:
        engine = create_database_engine(self.url, pool_size=1)
        with transaction(session_maker(engine)) as session:
            project = bootstrap.ensure_default_project(session, "acme")
            _, secret = api_keys.create(session, project.id, "scenario")
        engine.dispose()
        return project.id, secret


def training_file(rows: int, directives: dict[str, Any]) -> bytes:
    """A chat training file whose first row carries directives for the deterministic trainer."""
    lines = []
    for number in range(rows):
        system = f"trainer: {json.dumps(directives)}" if number == 0 else "Answer briefly."
        roles = {"system": system, "user": f"Question {number} {CANARY}", "assistant": f"{number}."}
        messages = [{"role": role, "content": content} for role, content in roles.items()]
        lines.append(json.dumps({"messages": messages}))
    return "\n".join(lines).encode() + b"\n"


def job_body(file_id: str, epochs: int = 3, batch_size: int = 4, **fields: Any) -> dict[str, Any]:
    """The body of a request that creates a job."""
    hyperparameters = {"n_epochs": epochs, "batch_size": batch_size}
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    return {"model": MODEL, "training_file": file_id, "seed": 7, "method": method, **fields}
