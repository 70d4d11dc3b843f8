"""Postgres, Valkey and an S3 server that scenarios may kill, freeze and cut off.

Postgres and Valkey are the embedded ones of `luthier up`.
"""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import create_engine, make_url, text

from app.db.migrate import upgrade
from app.local.postgres import prepare_postgres
from app.local.processes import ProcessSpec, spawn
from app.local.valkey import prepare_valkey
from tests.faults.network import Network
from tests.faults.object_store import ObjectServer

TEMPLATE = "luthier_template"


class Server:
    """A server process that tests kill and restart.

    Start it in the main thread: a child dies with the thread that started it.
    """

    def __init__(self, spec: ProcessSpec) -> None:
        self._spec = spec
        self.process = self._start()

    def kill(self) -> None:
        """Send SIGKILL, as a power cut would end it."""
        self.process.kill()
        self.process.wait(120)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def restart(self, *, stop_signal: signal.Signals = signal.SIGKILL) -> None:
        """End it with a signal, if it still runs, and start it again."""
        if self.process.poll() is None:
            self.process.send_signal(stop_signal)
            self.process.wait(120)
        self.process = self._start()

    def close(self) -> None:
        if self.process.poll() is None:
            self.thaw()
            self.process.send_signal(self._spec.stop_signal)
            self.process.wait(120)

    def _start(self) -> "subprocess.Popen[bytes]":
        deadline = time.monotonic() + 240
        process = spawn(self._spec)
        while not self._is_ready():
            assert time.monotonic() < deadline, f"{self._spec.name} did not start"
            if process.poll() is not None:
                # The children of a killed Postgres live on for a moment and block its restart.
                time.sleep(0.2)
                process = spawn(self._spec)
            time.sleep(0.05)
        return process

    def _is_ready(self) -> bool:
        check: Callable[[], bool] | None = self._spec.is_ready
        return check is None or check()


class BackingServices:
    """The servers shared by all scenarios; each scenario has its own database and bucket."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True)
        self.home = home
        spec, self._url = prepare_postgres(home)
        self.postgres = Server(spec)
        spec, url = prepare_valkey(home)
        self.valkey = Server(spec)
        self.valkey_socket = url.removeprefix("unix://")
        self.network = Network()
        self.objects = ObjectServer()
        self._create_database(TEMPLATE, "template1")
        upgrade(self.database_url(TEMPLATE))

    @property
    def postgres_socket(self) -> str:
        query = make_url(self._url).query
        return f"{query['host']}/.s.PGSQL.{query['port']}"

    def database_url(self, name: str) -> str:
        """URL of a database for the test itself, which bypasses all proxies."""
        return make_url(self._url).set(database=name).render_as_string(hide_password=False)

    def make_database(self, name: str) -> None:
        self._create_database(name, TEMPLATE)

    def replace_database(self, name: str) -> None:
        """Drop a database, and create an empty one of that name."""
        url = make_url(self._url).set(drivername="postgresql+psycopg")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
        engine.dispose()
        self._create_database(name, "template1")

    def close(self) -> None:
        self.network.close()
        self.objects.close()
        self.valkey.close()
        self.postgres.close()

    def _create_database(self, name: str, template: str) -> None:
        url = make_url(self._url).set(drivername="postgresql+psycopg")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
        engine.dispose()


def proxied_database_url(port: int, database: str, application: str, password: str) -> str:
    """URL of a database behind a proxy; `application` is its name in pg_stat_activity."""
    return (
        f"postgresql://postgres:{password}@127.0.0.1:{port}/{database}"
        f"?application_name={quote(application)}"
    )
