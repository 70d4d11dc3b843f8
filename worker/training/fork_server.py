"""The fork server: forks training processes that have imported everything and mapped their model.

`python -m worker.training --fork-server` reads requests from its standard input, one per line (see
`worker.fork_request`), until it ends. It never trains itself, and what it has when it forks is
what every training process would load: modules, tokenizers, and weights that stay the pages of
their files. Threads and CUDA contexts do not survive a fork, so it starts none: torch computes on
one thread here, bases are not loaded where there is an accelerator, and a process that loading has
left threads in serves nobody.

The supervisor is a subreaper: it becomes the parent of the forked process as soon as the process
between them ends. So it waits for, kills and outlives that process as if it had started it, and
the fork server's own death changes nothing for the jobs that run.
"""

import ctypes
import fcntl
import gc
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn, get_args

import worker.light_imports  # noqa: F401  # isort: skip
import torch

from app.catalog import CatalogModel, ModelKind
from app.logs import configure
from app.parent_death import die_with_parent
from app.process_hardening import allow_inspection, drop_privileges, forbid_inspection
from app.recipes.chat import choose_lora_settings
from worker.encoding.task import Method
from worker.fork_request import GO, READY, ForkRequest, PreloadRequest, parse_request, read_line
from worker.host_memory import return_freed_memory
from worker.model_cache import remember_checksums
from worker.run_folder import RunFolder
from worker.training import preloading, process
from worker.training.__main__ import TORCH_ENVIRONMENT
from worker.training.builder import CHAT_METHODS
from worker.training.environment import NICENESS, OOM_SCORE_ADJ
from worker.training.serving_check import check  # noqa: F401

# The first that the kernel kills when memory runs out: no job depends on it.
FORK_SERVER_OOM_SCORE_ADJ = "1000"
# Reply if no process was forked.
NONE = b"0\n"
ADOPTION_TIMEOUT_SECONDS = 10.0


def main() -> None:
    configure("info", "training")
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    _write_oom_score(FORK_SERVER_OOM_SCORE_ADJ)
    # A job's process that could change this one's memory would reach all later jobs.
    forbid_inspection()
    torch.set_num_threads(1)
    # Replies alone go to standard output; what a library prints goes to the log.
    replies = os.dup(1)
    os.dup2(2, 1)
    threads = _count_threads()
    while line := read_line(lambda size: os.read(0, size)):
        request = parse_request(line)
        if isinstance(request, PreloadRequest):
            _preload_likely(request)
        else:
            _preload(request)
        if _count_threads() > threads or torch.cuda.is_initialized():
            sys.exit("Loading a model has started threads, which a fork would lose.")
        if isinstance(request, PreloadRequest):
            os.write(replies, READY)
        else:
            _fork(request, replies)


def _preload_likely(request: PreloadRequest) -> None:
    """Load what jobs on these models need, the most likely one last."""
    for entry in request.preload:
        try:
            is_encoder = CatalogModel.from_json(entry).kind is ModelKind.ENCODER
            # A base that is not kept would be read for its checksums alone.
            if is_encoder or not preloading.has_accelerator():
                preloading.preload(entry, Path(request.models), is_encoder=is_encoder)
        except Exception as error:
            sys.stderr.write(f"A model was not loaded before the first job: {error}\n")
    _settle()


def _preload(request: ForkRequest) -> None:
    """Load what the job needs, unless that fails: then the job fails at it, and reports it."""
    try:
        folder = RunFolder(Path(request.run_folder))
        spec = folder.read_spec()
        remember_checksums(spec.checksums)
        is_encoder = spec.method in get_args(Method)
        cache = Path(request.models or spec.model_cache)
        preloading.preload(spec.model, cache, is_encoder=is_encoder)
        # A job that continues from an adapter takes that one's settings.
        if spec.method in CHAT_METHODS and not folder.init_adapter.exists():
            preloading.preload_layers(choose_lora_settings(spec.hyperparameters))
    except Exception as error:
        sys.stderr.write(f"Nothing was loaded before the fork: {error}\n")
    _settle()


def _settle() -> None:
    # Objects that no collection visits stay shared with the forked processes.
    gc.collect()
    gc.freeze()
    return_freed_memory()


def _fork(request: ForkRequest, replies: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    progress, is_alive = os.pipe()
    between = os.fork()
    if between == 0:
        # Its end makes the supervisor the parent of the training process.
        if os.fork() == 0:
            os.close(progress)
            _become_training(request, replies, is_alive)
        os._exit(0)
    os.close(is_alive)
    os.waitpid(between, 0)
    if not os.read(progress, 1):
        os.write(replies, NONE)
    # Until the process has read its GO: the next request comes through the same pipe.
    os.read(progress, 1)
    os.close(progress)


def _become_training(request: ForkRequest, replies: int, is_alive: int) -> NoReturn:
    try:
        _set_up(request, replies, is_alive)
    except BaseException as error:
        sys.stderr.write(f"The training process was not forked: {error}\n")
        sys.stderr.flush()
        os._exit(1)
    process.main(Path(request.argument))


def _set_up(request: ForkRequest, replies: int, is_alive: int) -> None:
    """Make this process what an exec by the supervisor would have made of it."""
    os.setsid()
    _wait_for_adoption(request.parent)
    os.chdir(request.run_folder)
    log = os.open(request.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    models = request.models_descriptor
    # Above the number that the folder of base models gets.
    lowest = 3 if models is None else models + 1
    replies, is_alive, log = (
        fcntl.fcntl(number, fcntl.F_DUPFD, lowest) for number in (replies, is_alive, log)
    )
    _close_all_but({0, 1, 2, replies, is_alive, log})
    if request.models is not None and models is not None:
        _open_at(request.models, models)
    # Until then its own /proc files are root's, and after a change of the user once more.
    allow_inspection()
    _write_oom_score(OOM_SCORE_ADJ)
    if request.drops_privileges:
        drop_privileges(request.uid, list(request.groups))
    allow_inspection()
    # After the change of the user, which withdraws the request.
    die_with_parent()
    if os.getppid() != request.parent:
        raise ProcessLookupError("the supervisor has ended")
    os.environ.clear()
    os.environ.update(request.environment | TORCH_ENVIRONMENT)
    tempfile.tempdir = None
    os.write(is_alive, b"1")
    os.write(replies, f"{os.getpid()}\n".encode())
    if read_line(lambda size: os.read(0, size)) != GO:
        raise TimeoutError("the supervisor did not wait for it")
    os.dup2(log, 1)
    os.dup2(log, 2)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for number in (replies, is_alive, log, nothing):
        os.close(number)
    _set_command_line(f"training {Path(request.run_folder).name}")


def _wait_for_adoption(parent: int) -> None:
    """Wait until the supervisor is the parent. Raises TimeoutError."""
    deadline = time.monotonic() + ADOPTION_TIMEOUT_SECONDS
    while os.getppid() != parent:
        if time.monotonic() > deadline:
            raise TimeoutError("the supervisor did not become its parent")
        time.sleep(0.0005)


def _open_at(folder: str, number: int) -> None:
    """Open a folder as the descriptor of a number that is free."""
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)


def _close_all_but(kept: set[int]) -> None:
    for number in map(int, os.listdir("/proc/self/fd")):
        if number not in kept:
            try:
                os.close(number)
            except OSError:
                # The one that listed them.
                continue


def _set_command_line(text: str) -> None:
    """Change what `ps` shows, which is the fork server's command line, as far as that is long."""
    # From proc_pid_stat(5): the name, in parentheses, is the second field.
    fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    start, end = (int(fields[number - 3]) for number in (48, 49))
    if 0 < start < end:
        ctypes.memmove(start, text.encode().ljust(end - start, b"\0"), end - start - 1)


def _count_threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _write_oom_score(score: str) -> None:
    Path("/proc/self/oom_score_adj").write_text(score, encoding="ascii")
