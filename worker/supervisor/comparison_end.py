"""End of a training process that dies in the comparison with the engine: the model is trained."""

from worker.comparison_notes import not_compared
from worker.run_folder import Noted
from worker.supervisor.event_relay import EventRelay
from worker.supervisor.oom_kills import OomKillDetector
from worker.supervisor.training_process import TrainingProcess


def excuse(
    code: int, process: TrainingProcess, relay: EventRelay, oom_kills: OomKillDetector
) -> Noted | None:
    """Make the note of a comparison that stalled or ran out of memory; None for another end.

    Neither may cost the owner a finished job, or train it again with a smaller batch. An error is
    another matter: the engine that raises it here would do so when it serves the model.
    """
    is_killed = code < 0
    if not relay.is_comparing or not is_killed:
        return None
    if process.is_aborted:
        return not_compared("it made no progress, and was ended")
    if process.is_stop_requested or oom_kills.describe(code) is None:
        return None
    return not_compared("memory ran out, and the operating system ended it")
