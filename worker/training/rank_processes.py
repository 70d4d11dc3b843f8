"""The processes of an attempt's ranks, forked by one that only waits for them.

To the supervisor, which stops, kills and watches it, the waiting process is the attempt: it passes
signals on, and ends as the first rank that fails. The ranks are in its process group, and the
kernel kills them with it. It has imported everything and started no thread, so that forks are safe
and share memory.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from app.parent_death import die_with_parent
from worker.run_folder import ExitCode
from worker.training.ranks import Ranks

# Time in which the other ranks may end by themselves, and report what is wrong, when one fails.
GRACE_SECONDS = 10.0
WAIT_INTERVAL_SECONDS = 0.05
FORWARDED = (signal.SIGTERM, signal.SIGABRT)


def end_with_code_of(run: Callable[[], int]) -> NoReturn:
    """End this process with the exit code that `run` returns, or 1 and a traceback if it raises."""
    code = 1
    try:
        code = run()
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: freeing all modules and the model one by one takes longer than a second.
    os._exit(code)


def run_ranks(ranks: Sequence[Ranks], store: Path, run: Callable[[Ranks], int]) -> int:
    """Call `run` in a process per rank; return the exit code of the attempt.

    The ranks meet by the file `store`. If a signal has killed one, this process ends by it too.
    """
    store.parent.mkdir(exist_ok=True)
    store.unlink(missing_ok=True)
    processes = [_fork(rank, store, run) for rank in ranks]
    for number in FORWARDED:
        signal.signal(number, lambda number, _frame: _signal(processes, number))
    code = _wait(processes)
    if code < 0:
        if -code in FORWARDED:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _fork(rank: Ranks, store: Path, run: Callable[[Ranks], int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    process = os.fork()
    if process == 0:
        end_with_code_of(lambda: _run_rank(rank, store, run, parent))
    return process


def _run_rank(rank: Ranks, store: Path, run: Callable[[Ranks], int], parent: int) -> int:
    die_with_parent()
    if os.getppid() != parent:
        return 1
    rank.join(store)
    return run(rank)


def _signal(processes: Sequence[int], number: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _wait(processes: Sequence[int]) -> int:
    """Wait for all, or kill those that outlive another's failure; return the attempt's code."""
    running = list(processes)
    codes: dict[int, int] = {}
    deadline: float | None = None
    while running and (deadline is None or time.monotonic() < deadline):
        process, status = os.waitpid(-1, 0 if deadline is None else os.WNOHANG)
        if process == 0:
            time.sleep(WAIT_INTERVAL_SECONDS)
            continue
        running.remove(process)
        codes[process] = code = os.waitstatus_to_exitcode(status)
        if deadline is None and code not in (ExitCode.DONE, ExitCode.YIELDED):
            deadline = time.monotonic() + GRACE_SECONDS
    _signal(running, signal.SIGKILL)
    for process in running:
        os.waitpid(process, 0)
    return choose_code([codes.get(process) for process in processes])


def choose_code(codes: Sequence[int | None]) -> int:
    """Choose the attempt's exit code among those of the ranks; None if it was killed in the end.

    When one rank fails, connections to it break, and the others crash: a known failure or a signal
    says more. If the first rank has done its work, the model is complete whatever befell others.
    """
    first = codes[0]
    failures = [code for code in codes if code not in (None, ExitCode.DONE, ExitCode.YIELDED)]
    if first == ExitCode.DONE or not failures:
        return first or ExitCode.DONE
    known = [code for code in failures if code in list(ExitCode)]
    signals = [code for code in failures if code is not None and code < 0]
    return next(code for code in (*known, *signals, *failures) if code is not None)
