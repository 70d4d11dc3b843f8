"""One scenario: the real processes, a client that never gives up, and a look behind the scenes."""

import json
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import Row, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from app.db.session import create_database_engine, session_maker, transaction
from app.local import services
from app.local.processes import Program, spawn
from app.organization import api_keys
from app.settings import Settings
from tests.faults.backing_services import Ground, through
from tests.faults.network import Proxy
from tests.faults.objects import KEY_ID, SECRET, Fault
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
STEPPER = (sys.executable, str(Path(__file__).with_name("stepper.py")))
MODEL = "smollm2-135m-instruct"
TERMINAL = ("succeeded", "failed", "cancelled")
# In each training text and each password: whatever is logged must not have it.
CANARY = "canary-7c1f"
# A tenth of what an operator has, so that the end of a lease is seen while a test waits.
LEASE_SECONDS = 6.0
HEARTBEAT_SECONDS = 0.5
POLL_SECONDS = 1.0


class Machine:
    """One of the service's processes, on a machine of its own: home, and ways to all servers."""

    def __init__(self, world: "World", name: str, **changes: Any) -> None:
        ground = world.ground
        self.name = name
        self.database = ground.network.proxy(ground.postgres_socket)
        self.broker = ground.network.proxy(ground.valkey_socket)
        self.objects = ground.network.proxy(ground.objects.port)
        self.settings = Settings(
            **{
                "home": world.home / name,
                "database_url": through(self.database.port, world.name, name, CANARY),
                "redis_url": f"redis://127.0.0.1:{self.broker.port}/0",
                "s3_bucket": world.name,
                "s3_endpoint_url": f"http://127.0.0.1:{self.objects.port}",
                "s3_access_key_id": KEY_ID,
                "s3_secret_access_key": SECRET,
                "models_file": ROOT / "models.toml",
                "lease_seconds": LEASE_SECONDS,
                "heartbeat_interval_seconds": HEARTBEAT_SECONDS,
                "poll_interval_seconds": POLL_SECONDS,
                "torch_threads": 1,
                "training_command": shlex.join(STEPPER),
                **changes,
            }
        )
        self.settings.home.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def ways(self) -> tuple[Proxy, Proxy, Proxy]:
        return self.database, self.broker, self.objects

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    @property
    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self.settings.home.glob("logs/*.log*")))

    def start(self, **environment: str) -> None:
        program = self._program(**environment)
        self._process = spawn(program)

    def _program(self, **environment: str) -> Program:
        kind = {"api": services.api, "trainer": services.trainer, "io": services.io}
        program = kind[self.name.partition("-")[0]](self.settings)
        return Program(
            name=program.name,
            command=program.command,
            environment={**program.environment, **environment},
            log=program.log,
            ready=program.ready,
        )

    def is_ready(self) -> bool:
        ready = self._program().ready
        return ready is None or ready()

    def kill(self) -> None:
        """kill -9, and whatever the kernel then ends with it."""
        self.process.kill()
        self.process.wait(120)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def end(self, seconds: float = 120) -> int:
        """Its exit code, once it has ended after `terminate`."""
        return self.process.wait(seconds)

    def trainings(self) -> list[psutil.Process]:
        """Training processes below it that run."""
        return [process for process in self._children() if _is_training(process)]

    def _children(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def run_folder(self, job_id: str) -> Path | None:
        folders = sorted(self.settings.home.glob(f"runs/{job_id}-e*"))
        return folders[-1] if folders else None

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            for process in [*self._children(), psutil.Process(self._process.pid)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait(120)
        for way in self.ways:
            way.close()


def alive(process: psutil.Process) -> bool:
    """Whether it still does anything: nobody may have asked yet how a dead one ended."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _is_training(process: psutil.Process) -> bool:
    try:
        is_gone = process.status() == psutil.STATUS_ZOMBIE
        return not is_gone and any("/runs/" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


@dataclass
class History:
    """What clients saw: each answer's status, and each job that was accepted."""

    answers: list[tuple[str, str, int]] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class World:
    """The processes of one scenario and how a test acts on them."""

    def __init__(self, ground: Ground, home: Path) -> None:
        self.ground = ground
        self.home = home
        self.name = f"world-{secrets.token_hex(4)}"
        self.history = History()
        self.machines: dict[str, Machine] = {}
        self.files: dict[str, bytes] = {}
        ground.objects.faults.clear()
        ground.make_database(self.name)
        ground.objects.client().create_bucket(Bucket=self.name)
        self.url = ground.database_url(self.name)
        url = make_url(self.url).set(drivername="postgresql+psycopg")
        self._engine = create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
        self.project_id, self.secret = self._make_key()

    # Processes

    def start(
        self, *names: str, environment: dict[str, str] | None = None, **changes: Any
    ) -> list[Machine]:
        """Start processes, each named by its kind and a number: `api-1`, `trainer-2`, `io-1`.

        `changes` are settings of theirs, `environment` what else they find in their environment.
        """
        started = []
        for name in names:
            given = {"port": free_port()} if name.startswith("api") else {}
            machine = self.machines[name] = Machine(self, name, **given, **changes)
            machine.start(**environment or {})
            started.append(machine)
            # The next api must not choose the same port before this one listens.
            if name.startswith("api"):
                self.until(f"{name} answers", machine.is_ready)
        return started

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def close(self) -> None:
        self.ground.objects.faults.clear()
        for machine in self.machines.values():
            machine.close()
        self._engine.dispose()

    # What clients do

    def request(
        self, method: str, path: str, *, api: str = "api-1", seconds: float = 60, **more: Any
    ) -> httpx.Response:
        """As the official SDKs: tried again after a lost connection, 409, 429 and 5xx."""
        deadline = time.monotonic() + seconds
        headers = {"Authorization": f"Bearer {self.secret}", **more.pop("headers", {})}
        tries, told = 0, "nothing"
        while True:
            headers["x-stainless-retry-count"] = str(tries)
            tries += 1
            with suppress(httpx.TransportError):
                answer = self.once(method, path, api=api, headers=headers, **more)
                if answer.status_code not in (409, 429, 500, 502, 503):
                    return answer
                told = answer.text
            assert time.monotonic() < deadline, f"{method} {path} says {told} after {seconds} s"
            time.sleep(0.2)

    def once(
        self, method: str, path: str, *, api: str = "api-1", timeout: float = 30, **more: Any
    ) -> httpx.Response:
        """One try. Raises httpx.TransportError."""
        port = self.machines[api].settings.port
        more["headers"] = {"Authorization": f"Bearer {self.secret}"} | more.get("headers", {})
        began = time.monotonic()
        url = f"http://127.0.0.1:{port}{path}"
        answer = httpx.request(method, url, timeout=timeout, trust_env=False, **more)
        self.history.seconds.append(time.monotonic() - began)
        self.history.answers.append((method, path, answer.status_code))
        return answer

    def upload(self, rows: int = 12, **orders: Any) -> str:
        """A training file of so many rows, with orders for the stepper; its id."""
        data = training_file(rows, orders)
        answer = self.request(
            "POST",
            "/v1/files",
            files={"file": ("train.jsonl", data)},
            data={"purpose": "fine-tune"},
        )
        assert answer.status_code == 200, answer.text
        file_id: str = answer.json()["id"]
        self.files[file_id] = data
        return file_id

    def create(self, file_id: str, *, passes: int = 3, batch: int = 4, **more: Any) -> str:
        """A job on a file; its id. 12 rows by 4 in 3 passes are 9 steps."""
        answer = self.request(
            "POST", "/v1/fine_tuning/jobs", json=asked(file_id, passes, batch, **more)
        )
        assert answer.status_code == 200, answer.text
        job_id: str = answer.json()["id"]
        self.accept(job_id)
        return job_id

    def accept(self, job_id: str) -> None:
        if job_id not in self.history.accepted:
            self.history.accepted.append(job_id)

    def act(self, verb: str, job_id: str, **more: Any) -> httpx.Response:
        """`cancel`, `pause` or `resume` a job."""
        return self.request("POST", f"/v1/fine_tuning/jobs/{job_id}/{verb}", **more)

    # Behind the scenes

    def rows(self, statement: str, **values: Any) -> Sequence[Row[Any]]:
        with self._engine.connect() as connection:
            result = connection.execute(text(statement), values)
            return result.all() if result.returns_rows else []

    def value(self, statement: str, **values: Any) -> Any:
        """The only column of the only row, or None."""
        found = self.rows(statement, **values)
        return found[0][0] if found else None

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Nobody else reads or writes a table while the block runs."""
        options = {"isolation_level": "READ COMMITTED"}
        with self._engine.connect().execution_options(**options) as connection:
            with connection.begin():
                connection.execute(text(f"LOCK TABLE {table}"))
                yield

    def state(self, job_id: str) -> str:
        return str(self.value("SELECT state FROM jobs WHERE id = :id", id=job_id))

    def step(self, job_id: str) -> int:
        """The last step whose metrics have arrived."""
        found = self.value("SELECT max(step) FROM job_metrics WHERE job_id = :id", id=job_id)
        return 0 if found is None else int(found)

    def attempts(self, job_id: str) -> list[tuple[int, str]]:
        """Each attempt's epoch and how it ended."""
        found = self.rows(
            "SELECT attempt, outcome FROM job_attempts WHERE job_id = :id ORDER BY attempt", id=job_id
        )
        return [(row.attempt, row.outcome) for row in found]

    def until(self, sentence: str, holds: Callable[[], object], *, seconds: float = 240) -> float:
        """Wait until it holds; the seconds that took."""
        began = time.monotonic()
        while not self._holds(holds):
            waited = time.monotonic() - began
            assert waited < seconds, f"after {seconds} s still not: {sentence}{self._story()}"
            time.sleep(0.05)
        return time.monotonic() - began

    def reaches(self, job_id: str, step: int, *, seconds: float = 240) -> float:
        sentence = f"{job_id} is at step {step}"
        return self.until(sentence, lambda: self.step(job_id) >= step, seconds=seconds)

    def finish(self, *job_ids: str, seconds: float = 360) -> list[str]:
        """Wait until these jobs have ended; their states.

        The pause before another try at a crashed job is cut short: it is there for the machines'
        sake, and no scenario is about it.
        """

        def ended() -> bool:
            self.hurry()
            return all(self.state(job_id) in TERMINAL for job_id in job_ids)

        self.until(f"{job_ids} have ended", ended, seconds=seconds)
        return [self.state(job_id) for job_id in job_ids]

    def hurry(self) -> None:
        self.rows(
            "UPDATE jobs SET run_after = clock_timestamp()"
            " WHERE state = 'queued' AND run_after > clock_timestamp()"
        )

    def _holds(self, holds: Callable[[], object]) -> bool:
        try:
            return bool(holds())
        except OperationalError:
            # Postgres is down, as scenarios have it.
            return False

    def _story(self) -> str:
        """What the database and the logs say, for whoever reads a failure."""
        told = [""]
        with suppress(OperationalError):
            for row in self.rows("SELECT id, state, attempt, error_message FROM jobs"):
                told.append(f"{row} {self.attempts(row.id)} at step {self.step(row.id)}")
        for machine in self.machines.values():
            told += [f"--- {machine.name}", *machine.log.splitlines()[-8:]]
        return "\n".join(told)

    # Faults of the store

    def fault(self, method: str, pattern: str, **more: Any) -> Fault:
        """A fault for requests on this world's bucket; `pattern` is a glob behind its name."""
        return self.ground.objects.faults.add(Fault(method, f"/{self.name}/{pattern}", **more))

    def keys(self, prefix: str = "") -> Iterator[str]:
        pages = self.ground.objects.client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.name, Prefix=prefix):
            yield from (entry["Key"] for entry in page.get("Contents", []))

    def blob(self, key: str) -> bytes:
        data: bytes = (
            self.ground.objects.client().get_object(Bucket=self.name, Key=key)["Body"].read()
        )
        return data

    def _make_key(self) -> tuple[str, str]:
        engine = create_database_engine(self.url, pool_size=1)
        with transaction(session_maker(engine)) as session:
            project = api_keys.ensure_default_project(session, "acme")
            _, secret = api_keys.create(session, project.id, "scenario")
        engine.dispose()
        return project.id, secret


def training_file(rows: int, orders: dict[str, Any]) -> bytes:
    lines = []
    for number in range(rows):
        system = f"stepper: {json.dumps(orders)}" if number == 0 else "Answer briefly."
        roles = {"system": system, "user": f"Question {number} {CANARY}", "assistant": f"{number}."}
        messages = [{"role": role, "content": content} for role, content in roles.items()]
        lines.append(json.dumps({"messages": messages}))
    return "\n".join(lines).encode() + b"\n"


def asked(file_id: str, passes: int = 3, batch: int = 4, **more: Any) -> dict[str, Any]:
    """The body of a request for a job."""
    numbers = {"n_epochs": passes, "batch_size": batch}
    method = {"type": "supervised", "supervised": {"hyperparameters": numbers}}
    return {"model": MODEL, "training_file": file_id, "seed": 7, "method": method, **more}
