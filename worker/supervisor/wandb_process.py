"""`python -m worker.supervisor.wandb_process CONFIG`: logs a run folder's events to W&B.

A separate process, since the library blocks for minutes when its server does not respond. It
reads the run folder, gets the operator's W&B key on standard input and no other credentials, and is
ended by the supervisor.
"""

import sys
import time
from pathlib import Path
from typing import Any

import wandb

from app.process_hardening import forbid_inspection
from worker.run_folder import Metrics, RunFolder, Started, atomic_write
from worker.supervisor.wandb_config import WandbRunConfig

POLL_INTERVAL_SECONDS = 0.3


def main(path: Path) -> None:
    forbid_inspection()
    config = WandbRunConfig.read(path)
    run = _init_run(config, api_key=sys.stdin.read() or None)
    atomic_write(Path(config.ready_file), (run.url or "").encode())
    folder, ended_file = RunFolder(Path(config.run_folder)), Path(config.ended_file)
    offset = 0
    is_last = False
    while not is_last:
        # Checked before reading, so that no event is missed.
        is_last = ended_file.exists()
        for event, next_offset in folder.read_events(offset):
            offset = next_offset
            if isinstance(event, Started):
                run.config.update(event.hyperparameters, allow_val_change=True)
            elif isinstance(event, Metrics):
                run.log(event.values, step=event.step)
        time.sleep(0 if is_last else POLL_INTERVAL_SECONDS)
    run.finish()


def _init_run(config: WandbRunConfig, *, api_key: str | None) -> Any:
    """Create the job's run; later attempts resume it."""
    settings = wandb.Settings(
        api_key=api_key,
        silent=True,
        console="off",
        disable_git=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
    )
    return wandb.init(
        id=config.id,
        resume=None if config.mode == "offline" else "allow",
        project=config.project,
        name=config.name,
        entity=config.entity,
        tags=config.tags,
        config=config.config,
        dir=config.directory,
        mode="offline" if config.mode == "offline" else "online",
        settings=settings,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
