"""The fork server: forked training is like that in a process of its own, and only starts sooner."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.catalog import Catalog, CatalogModel, ModelKind
from app.settings import Settings
from tests.polling import wait_until
from tests.worker.supervisor.test_sandbox import find_interpreter
from tests.worker.training.conftest import MakeRun, chat, events, write_rows
from tests.worker.training.conftest import make_run as make_run
from worker.fork_request import ForkRequest, PreloadRequest
from worker.host_memory import HostMemory
from worker.model_cache import READY_FILE, get_cache_folder
from worker.modeling import choose_dtype
from worker.run_folder import CheckpointWritten, ExitCode, Metrics, RunFolder, RunSpec
from worker.supervisor.fork_server_client import (
    IDLE_SECONDS,
    MIN_AVAILABLE_BYTES,
    START_SECONDS,
    ForkServerClient,
)
from worker.supervisor.sandbox import ROOT, Sandbox, list_needed_paths, open_sandbox
from worker.supervisor.slots import Slot
from worker.supervisor.training_process import (
    EXEC_WITH_PARENT,
    ForkedProcess,
    TrainingProcess,
    inherit_environment,
    make_fork_server,
)

pytestmark = [
    pytest.mark.training,
    pytest.mark.skipif(sys.platform != "linux", reason="there is none elsewhere"),
]

LONG = {"n_epochs": 5000, "batch_size": 4}


@dataclass(frozen=True)
class Machine:
    """Folders of a trainer, with the tiny model in the cache of base models."""

    home: Path
    model: CatalogModel
    command: tuple[str, ...]

    @property
    def models(self) -> Path:
        return self.home / "cache" / "models"

    @contextmanager
    def open_sandbox(self) -> Iterator[Sandbox]:
        needed = list_needed_paths(self.command, self.model.source)
        with open_sandbox(self.models, needed) as sandbox:
            yield sandbox

    @contextmanager
    def train(
        self, name: str, server: ForkServerClient | None, slot: Slot | None = None, **spec: Any
    ) -> Iterator[tuple[RunFolder, TrainingProcess]]:
        """Run an attempt as the supervisor does, forked by a server if there is one."""
        folder = RunFolder(self.home / "runs" / f"ftjob-{name}-attempt-1")
        shutil.rmtree(folder.path, ignore_errors=True)
        folder.checkpoints.mkdir(parents=True)
        write_rows(folder.train_file, [chat(number) for number in range(12)])
        with self.open_sandbox() as sandbox:
            values: dict[str, Any] = {
                "job_id": f"ftjob-{name}",
                "attempt": 1,
                "model": self.model.to_json(),
                "model_cache": sandbox.model_cache or str(self.models),
                "method": "supervised",
                "hyperparameters": {"n_epochs": 2, "batch_size": 4},
                "seed": 5,
                "base_model": self.model.id,
                "threads": 1,
            }
            folder.write_spec(RunSpec(**values | spec))
            sandbox.hand_over(folder)
            with TrainingProcess(
                folder, self.command, sandbox, slot, fork_server=server
            ) as process:
                assert isinstance(process._process, ForkedProcess) == (server is not None)
                yield folder, process


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[Machine]:
    """For root, with an interpreter that the sandbox's user can run, if there is one."""
    home = tmp_path_factory.mktemp("home")
    interpreter = find_interpreter() if os.geteuid() == 0 else sys.executable
    model = CatalogModel(
        id="tiny",
        source=f"hf:none/none@{40 * '0'}",
        kind=ModelKind.CAUSAL,
        methods=("supervised",),
        context_length=512,
    )
    machine = Machine(home, model, (interpreter, "-m", "worker.training"))
    cached = get_cache_folder(model, machine.models)
    shutil.copytree(tiny_folder, cached)
    # As training computes it, so that the fork server keeps its weights.
    dtype = choose_dtype(torch.device("cpu"))
    weights = load_file(cached / "model.safetensors")
    converted = {name: weight.to(dtype) for name, weight in weights.items()}
    save_file(converted, cached / "model.safetensors", {"format": "pt"})
    (cached / READY_FILE).write_text(model.source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}:{sysconfig.get_paths()['purelib']}")
        yield machine


@pytest.fixture(scope="module")
def server(machine: Machine) -> Iterator[ForkServerClient]:
    """A fork server, started in the thread that lives as long as it."""
    with machine.open_sandbox() as sandbox:
        environment = inherit_environment() | sandbox.build_environment()
    command = (*EXEC_WITH_PARENT, str(os.getpid()), *machine.command, "--fork-server")
    missing = CatalogModel(
        id="missing",
        source="path:/missing",
        kind=ModelKind.ENCODER,
        methods=("classification",),
        context_length=512,
    )
    models = [missing.to_json(), machine.model.to_json()]
    made = ForkServerClient(
        command,
        environment,
        machine.home / "cache" / "fork-server",
        preload=PreloadRequest(preload=models, models=str(machine.models)),
    )
    made.maintain()
    process = made._process
    assert process is not None
    wait_until("it is ready", lambda: made._wait_until_ready(process))
    yield made
    made.close()


def test_it_loads_a_model_before_the_first_job_although_another_is_missing(
    machine: Machine, server: ForkServerClient
) -> None:
    weights = get_cache_folder(machine.model, machine.models) / "model.safetensors"
    assert str(weights) in Path(f"/proc/{server.pid}/maps").read_text()


def wait_for_exit(process: TrainingProcess) -> int:
    wait_until("it has ended", lambda: process.poll() is not None)
    code = process.poll()
    assert code is not None
    return code


def has_made_a_step(folder: RunFolder) -> bool:
    return any(isinstance(event, Metrics) for event in events(folder))


def hash_weights(folder: RunFolder) -> str:
    step = folder.list_checkpoint_steps()[0]
    path = folder.checkpoint(step) / "adapter_model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("threads", "processes"), [(1, 1), (2, 1), (2, 2)])
def test_weights_are_the_same_to_the_bit(
    machine: Machine, server: ForkServerClient, threads: int, processes: int
) -> None:
    hashes = []
    for made_by in (None, server):
        run = machine.train("bits", made_by, threads=threads, processes=processes)
        with run as (folder, process):
            assert wait_for_exit(process) == ExitCode.DONE, folder.log.read_text()
            hashes.append(hash_weights(folder))
    assert hashes[0] == hashes[1]


def read_state(pid: int, folder: RunFolder) -> dict[str, Any]:
    """Read what the kernel says of a process: its user, rights, limits, signals and files."""
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    # Which of the trainers' users it is depends on those that are in use at that time.
    user = status["Uid"].split()[0]
    names = ("Groups", "Umask", "NoNewPrivs", "Seccomp", "SigIgn", "SigBlk", "SigCgt")
    names += ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "PPid")
    files = {path.name: os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return {
        **{name: status[name] for name in names},
        **{name: status[name].replace(user, "user") for name in ("Uid", "Gid")},
        "is root": user == "0",
        "files": {name: path for name, path in files.items() if int(name) <= 2},
        # Not the checkpoint that it may be writing.
        "further files": sorted(
            path
            for name, path in files.items()
            if int(name) > 2 and not path.startswith(f"{folder.checkpoints}/")
        ),
        "owns itself": Path(f"/proc/{pid}/stat").stat().st_uid == int(user),
        "folder": os.readlink(f"/proc/{pid}/cwd"),
        "limits": Path(f"/proc/{pid}/limits").read_text(),
        "oom score": Path(f"/proc/{pid}/oom_score_adj").read_text(),
        "niceness": os.getpriority(os.PRIO_PROCESS, pid),
        "leads its session": os.getsid(pid) == os.getpgid(pid) == pid,
    }


def test_it_is_to_the_kernel_what_a_process_of_its_own_is(
    machine: Machine, server: ForkServerClient
) -> None:
    states = []
    for made_by in (None, server):
        with machine.train("state", made_by, hyperparameters=LONG) as (folder, process):
            wait_until("it has made a step", lambda: has_made_a_step(folder))
            states.append(read_state(process.pid, folder))
    assert int(states[1]["PPid"]) == os.getpid()
    assert states[0] == states[1]


def test_one_server_forks_for_slots_with_different_devices(
    machine: Machine, server: ForkServerClient
) -> None:
    pid = server.pid
    for device in ("4", "7"):
        slot = Slot((device,))
        # Asserts that it was forked.
        with machine.train(f"on{device}", server, slot) as (_, process):
            assert wait_for_exit(process) == ExitCode.DONE
    assert server.pid == pid


def test_ps_shows_what_it_trains(machine: Machine, server: ForkServerClient) -> None:
    with machine.train("shown", server, hyperparameters=LONG) as (folder, process):
        wait_until("it has made a step", lambda: has_made_a_step(folder))
        assert folder.path.name in Path(f"/proc/{process.pid}/cmdline").read_text()


def test_a_stop_yields(machine: Machine, server: ForkServerClient) -> None:
    with machine.train("stopped", server, hyperparameters=LONG) as (folder, process):
        wait_until("it has made a step", lambda: has_made_a_step(folder))
        process.stop(grace_seconds=240)
        assert wait_for_exit(process) == ExitCode.YIELDED
        assert isinstance(events(folder)[-1], CheckpointWritten)


def test_an_error_has_its_exit_code_and_is_logged(
    machine: Machine, server: ForkServerClient
) -> None:
    model = {**machine.model.to_json(), "context_length": 16}
    with machine.train("failed", server, model=model) as (folder, process):
        assert wait_for_exit(process) == ExitCode.USER_ERROR
        assert "training.failed" in folder.log.read_text()


def test_leaving_the_block_kills_and_reaps_it(machine: Machine, server: ForkServerClient) -> None:
    with machine.train("killed", server, hyperparameters=LONG) as (folder, process):
        wait_until("it has made a step", lambda: has_made_a_step(folder))
    assert process.poll() == -signal.SIGKILL
    assert not Path(f"/proc/{process.pid}").exists()


def test_jobs_at_once_take_turns(machine: Machine, server: ForkServerClient) -> None:
    codes: list[int] = []

    def train(name: str) -> None:
        with machine.train(name, server) as (_, process):
            codes.append(wait_for_exit(process))

    threads = [threading.Thread(target=train, args=(f"turn{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [ExitCode.DONE] * 3


def test_its_own_memory_is_small(machine: Machine, server: ForkServerClient) -> None:
    with machine.train("memory", server) as (_, process):
        wait_for_exit(process)
    fields = Path(f"/proc/{server.pid}/smaps_rollup").read_text().splitlines()
    private = sum(int(line.split()[1]) for line in fields if line.startswith("Private_"))
    assert private < 300_000, f"the fork server has {private} kB of its own"


def test_f50_a_killed_server_costs_no_job_anything(
    machine: Machine, server: ForkServerClient
) -> None:
    """The job that runs goes on; the next one starts in a process of its own."""
    with machine.train("first", server, hyperparameters=LONG) as (folder, process):
        wait_until("it has made a step", lambda: has_made_a_step(folder))
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        count = len(events(folder))
        wait_until("it trains on", lambda: len(events(folder)) > count)
        assert process.poll() is None
    with pytest.raises(AssertionError), machine.train("second", server):
        pass
    with machine.train("third", None) as (_, process):
        assert wait_for_exit(process) == ExitCode.DONE


SUPERVISOR = """
import os, sys, time
from pathlib import Path
from worker.run_folder import RunFolder
from worker.supervisor.fork_server_client import ForkServerClient
from worker.supervisor.training_process import *
from worker.supervisor.training_process import EXEC_WITH_PARENT
command = (*EXEC_WITH_PARENT, str(os.getpid()), *TRAINING_COMMAND, "--fork-server")
server = ForkServerClient(command, inherit_environment(), Path(sys.argv[1]))
server.maintain()
while not server._wait_until_ready(server._process):
    time.sleep(0.1)
with TrainingProcess(RunFolder(Path(sys.argv[1])), TRAINING_COMMAND, fork_server=server) as process:
    print(process.pid, server.pid, type(process._process).__name__, flush=True)
    time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_both_die_with_the_supervisor(make_run: MakeRun) -> None:
    folder = make_run(hyperparameters=LONG)
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(folder.path)], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    training, server, kind = supervisor.stdout.readline().split()
    assert kind == ForkedProcess.__name__
    wait_until("it has made a step", lambda: has_made_a_step(folder))
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    wait_until("training is gone", lambda: not is_alive(int(training)))
    wait_until("the fork server is gone", lambda: not is_alive(int(server)))


class Pressure:
    """A server that only waits, on a machine whose clock and memory a test sets."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self._proc = folder / "proc"
        self._proc.mkdir()
        self.set_available(4 * MIN_AVAILABLE_BYTES)
        self.server = ForkServerClient(
            ("sleep", "600"),
            inherit_environment(),
            folder / "server",
            memory=HostMemory(self._proc, folder / "cgroups"),
            clock=lambda: self.now,
        )

    def set_available(self, size: int) -> None:
        (self._proc / "meminfo").write_text(f"MemAvailable: {size // 1024} kB\n")


@pytest.fixture
def pressure(tmp_path: Path) -> Iterator[Pressure]:
    made = Pressure(tmp_path)
    yield made
    made.server.close()


def test_a_server_that_still_loads_is_neither_waited_for_nor_stopped(
    pressure: Pressure, tmp_path: Path
) -> None:
    pressure.server.maintain()
    pid = pressure.server.pid
    pressure.now = START_SECONDS
    request = ForkRequest(
        parent=os.getpid(),
        run_folder=str(tmp_path),
        argument=str(tmp_path),
        log=str(tmp_path / "log"),
        environment=inherit_environment(),
        drops_privileges=False,
    )
    assert pressure.server.fork(request) is None
    assert pid is not None
    assert pressure.server.pid == pid


def test_it_is_given_up_when_memory_is_short(pressure: Pressure) -> None:
    pressure.server.maintain()
    assert pressure.server.pid is not None
    pressure.set_available(MIN_AVAILABLE_BYTES - 2**20)
    pressure.server.maintain()
    assert pressure.server.pid is None
    # More than it gave back must be free before it takes it again.
    pressure.set_available(MIN_AVAILABLE_BYTES + 2**20)
    pressure.server.maintain()
    assert pressure.server.pid is None
    pressure.set_available(4 * MIN_AVAILABLE_BYTES)
    pressure.server.maintain()
    assert pressure.server.pid is not None


def test_it_is_given_up_when_no_job_comes(pressure: Pressure) -> None:
    pressure.server.maintain()
    pressure.now = IDLE_SECONDS + 1
    pressure.server.maintain()
    assert pressure.server.pid is None


def test_one_that_ends_is_not_started_again_at_once(pressure: Pressure) -> None:
    pressure.server.maintain()
    assert pressure.server.pid is not None
    os.kill(pressure.server.pid, signal.SIGKILL)
    wait_until("it is dead", lambda: not is_alive(pressure.server.pid or 0))
    pressure.server.maintain()
    assert pressure.server.pid is None
    pressure.now = 61
    pressure.server.maintain()
    assert pressure.server.pid is not None


def test_a_setting_turns_it_off(tmp_path: Path) -> None:
    catalog = Catalog([])
    assert make_fork_server(Settings(home=tmp_path, training_fork_server=False), catalog) is None
    assert make_fork_server(Settings(home=tmp_path, training_command="true"), catalog) is None
