"""`luthier sweeps`: what operators see of all projects' sweeps, and how they stop them."""

import json

from app.db.session import SessionMaker
from tests.app.sweeps.desk import Desk, desk, rate
from tests.app.test_cli import Luthier, luthier

__all__ = ["desk", "luthier"]


def test_shows_and_cancels_sweeps(luthier: Luthier, sessions: SessionMaker, desk: Desk) -> None:
    ended, running = desk.create(), desk.create()
    desk.train(rate)
    desk.advance(ended)
    assert luthier("sweeps", "list").stdout.splitlines() == [
        f"{running}  running  4 running  {desk.project_id}  base"
    ]
    lines = luthier("sweeps", "list", "--all", "--project", desk.project_id).stdout.splitlines()
    assert lines[1] == (
        f"{ended}  succeeded  4 succeeded  {desk.project_id}  base  valid_loss 0.5, lowest of 4 "
        "finished trials"
    )
    shown = json.loads(luthier("sweeps", "show", ended).stdout)
    assert (shown["project_id"], shown["best"]["trial"]) == (desk.project_id, 0)
    assert luthier("sweeps", "cancel", running).stdout == f"{running}: cancelled\n"
    assert desk.events(running)[-1] == "The sweep has been cancelled by the operator"
    refused = luthier("sweeps", "cancel", "ftsweep-nope")
    assert (refused.returncode, refused.stderr) == (1, "Could not find sweep: ftsweep-nope\n")
