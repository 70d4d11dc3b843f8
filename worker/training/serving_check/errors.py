"""Error of a job whose model is served otherwise than it was trained."""

from worker.training.errors import TrainingError, user_error


def served_differently(difference: str) -> TrainingError:
    """Make the error; `difference` says what the engine computed and what training did."""
    return user_error(
        "served_differently",
        f"The model answers differently when it is served: {difference}. This is a fault of the "
        "service, not of the file, so the model was not made available; report it to the operator "
        "with this job's id.",
    )
