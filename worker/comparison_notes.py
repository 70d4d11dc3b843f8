"""Notes for a job's owner about the comparison of the model with the engine that will serve it."""

from enum import StrEnum

from worker.run_folder import Noted


class ComparisonNote(StrEnum):
    """Outcomes of a comparison that do not fail the job: the keys of its notes.

    agrees        the values differ by no more than rounding
    differs       by more, but not by so much that only a fault explains it
    verified      the stored adapter is the trained one; one of its kind was compared before
    not_compared  there was no memory, or nothing to compare
    """

    AGREES = "engine:agrees"
    DIFFERS = "engine:differs"
    VERIFIED = "engine:verified"
    NOT_COMPARED = "engine:not_compared"


def verified() -> Noted:
    """Make the note that the adapter is stored as it was trained, and computed as others were."""
    message = (
        "The adapter is stored as it was trained, and prompts are rendered as in training. The "
        "engine's log-probabilities agreed with training's for one of an earlier job, on the "
        "same base model, of the same shape and about as strong"
    )
    return Noted(key=ComparisonNote.VERIFIED, message=message)


def not_compared(reason: str) -> Noted:
    """Make the warning that nothing was compared."""
    message = f"It was not checked that the model is served as it was trained: {reason}"
    return Noted(key=ComparisonNote.NOT_COMPARED, message=message, is_warning=True)
