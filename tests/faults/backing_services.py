"""What all scenarios stand on: a Postgres, a Valkey and an S3 server that they may hurt.

They are the embedded ones of `luthier up`, so what is killed here is what runs there.
"""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import create_engine, make_url, text

from app.db.migrate import upgrade
from app.local.postgres import postgres
from app.local.processes import Program, spawn
from app.local.valkey import valkey
from tests.faults.network import Network
from tests.faults.objects import ObjectServer

TEMPLATE = "luthier_template"


class Server:
    """A program that tests kill and start again. Start it in the main thread, as its leash asks."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.process = self._start()

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait(120)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def restart(self, *, how: signal.Signals = signal.SIGKILL) -> None:
        """End it with a signal, if it still runs, and start it again."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(120)
        self.process = self._start()

    def close(self) -> None:
        if self.process.poll() is None:
            self.thaw()
            self.process.send_signal(self._program.stop_signal)
            self.process.wait(120)

    def _start(self) -> "subprocess.Popen[bytes]":
        deadline = time.monotonic() + 240
        process = spawn(self._program)
        while not self._is_ready():
            assert time.monotonic() < deadline, f"{self._program.name} does not start"
            if process.poll() is not None:
                # A Postgres whose parent was killed lives on for a moment, and is in the way.
                time.sleep(0.2)
                process = spawn(self._program)
            time.sleep(0.05)
        return process

    def _is_ready(self) -> bool:
        ready: Callable[[], bool] | None = self._program.ready
        return ready is None or ready()


class Ground:
    """One for all scenarios; each has a database, a broker's memory and a bucket of its own."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True)
        self.home = home
        program, self._url = postgres(home)
        self.postgres = Server(program)
        program, url = valkey(home)
        self.valkey = Server(program)
        self.valkey_socket = url.removeprefix("unix://")
        self.network = Network()
        self.objects = ObjectServer()
        self._make(TEMPLATE, "template1")
        upgrade(self.database_url(TEMPLATE))

    @property
    def postgres_socket(self) -> str:
        query = make_url(self._url).query
        return f"{query['host']}/.s.PGSQL.{query['port']}"

    def database_url(self, name: str) -> str:
        """How a test itself reaches a database: past all proxies."""
        return make_url(self._url).set(database=name).render_as_string(hide_password=False)

    def make_database(self, name: str) -> None:
        self._make(name, TEMPLATE)

    def close(self) -> None:
        self.network.close()
        self.objects.close()
        self.valkey.close()
        self.postgres.close()

    def _make(self, name: str, template: str) -> None:
        self._do(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')

    def _do(self, statement: str) -> None:
        url = make_url(self._url).set(drivername="postgresql+psycopg")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


def through(port: int, database: str, who: str, password: str) -> str:
    """The URL of a database behind a proxy, for a process called `who`."""
    return f"postgresql://postgres:{password}@127.0.0.1:{port}/{database}?application_name={quote(who)}"
