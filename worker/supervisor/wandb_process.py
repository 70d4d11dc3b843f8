"""`python -m worker.supervisor.wandb_process PLAN`: what training reports, as a run at W&B.

A process of its own: its library waits for minutes where its server does not answer, and must not
make anyone else wait. It reads the run folder, knows the operator's key and nothing else, and is
ended by whoever started it.
"""

import sys
import time
from pathlib import Path
from typing import Any

import wandb

from worker.rundir import Metrics, RunFolder, Started, atomic_write
from worker.supervisor.wandb_config import WandbRunConfig

POLL_INTERVAL_SECONDS = 0.3


def main(path: Path) -> None:
    plan = WandbRunConfig.read(path)
    run = _init_run(plan)
    atomic_write(Path(plan.ready_file), (run.url or "").encode())
    folder, ended = RunFolder(Path(plan.run_folder)), Path(plan.ended_file)
    offset = 0
    is_last = False
    while not is_last:
        # Looked for before the reading, so that nothing is left unread.
        is_last = ended.exists()
        for event, behind in folder.read_events(offset):
            offset = behind
            if isinstance(event, Started):
                run.config.update(event.hyperparameters, allow_val_change=True)
            elif isinstance(event, Metrics):
                run.log(event.values, step=event.step)
        time.sleep(0 if is_last else POLL_INTERVAL_SECONDS)
    run.finish()


def _init_run(plan: WandbRunConfig) -> Any:
    """The job's run; attempts after the first go on with it."""
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
    )
    return wandb.init(
        id=plan.id,
        resume=None if plan.mode == "offline" else "allow",
        project=plan.project,
        name=plan.name,
        entity=plan.entity,
        tags=plan.tags,
        config=plan.config,
        dir=plan.directory,
        mode="offline" if plan.mode == "offline" else "online",
        settings=settings,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
