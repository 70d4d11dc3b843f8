"""Words of the console that several pages show."""

from enum import StrEnum

from app.console import formatting


class Tone(StrEnum):
    """Kind of a state, which chooses its colour and symbol."""

    GOOD = "good"
    BAD = "bad"
    BUSY = "busy"
    WAITING = "waiting"
    NEUTRAL = "neutral"


STATE_WORDS = {
    "validating_files": "Checking files",
    "queued": "Queued",
    "running": "Running",
    "pausing": "Pausing",
    "finalizing": "Finishing",
    "paused": "Paused",
    "succeeded": "Succeeded",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "uploaded": "Uploaded",
    "processed": "Ready",
    "error": "Invalid",
    "completed": "Completed",
    "canceled": "Cancelled",
    "in_progress": "Running",
    "ok": "Healthy",
    "degraded": "Degraded",
    "unavailable": "Unavailable",
    "stable": "As in training",
    "moderate": "Changed",
    "drifted": "Drifted",
    "insufficient_data": "Too few texts",
}
STATE_TONES = {
    "succeeded": Tone.GOOD,
    "completed": Tone.GOOD,
    "processed": Tone.GOOD,
    "ok": Tone.GOOD,
    "stable": Tone.GOOD,
    "drifted": Tone.BAD,
    "moderate": Tone.WAITING,
    "failed": Tone.BAD,
    "error": Tone.BAD,
    "unavailable": Tone.BAD,
    "active": Tone.GOOD,
    "running": Tone.BUSY,
    "in_progress": Tone.BUSY,
    "finalizing": Tone.BUSY,
    "pausing": Tone.WAITING,
    "queued": Tone.WAITING,
    "validating_files": Tone.WAITING,
    "paused": Tone.WAITING,
    "degraded": Tone.WAITING,
}

# Purposes of files, all of them and those that users can upload here, the usual one first.
PURPOSE_WORDS = {
    "fine-tune": "Training data",
    "evals": "Evals",
    "batch": "Batch",
    "user_data": "User data",
    "assistants": "Assistants",
    "vision": "Vision",
    "fine-tune-results": "Metrics of a job",
    "batch_output": "Results of a batch",
}
UPLOAD_PURPOSES = {
    name: PURPOSE_WORDS[name] for name in ("fine-tune", "evals", "batch", "user_data")
}
# Ends of attempts at jobs.
END_WORDS = {
    "yielded": "Gave its trainer to another project",
    "postponed": "Waited for a resource",
    "lost": "Lost its trainer",
}
# Kinds of engines.
ENGINE_WORDS = {
    "luthier": "the built-in engine",
    "vllm": "vLLM",
    "sglang": "SGLang",
    "other": "another server",
}
METHOD_WORDS = {
    "supervised": "Supervised",
    "dpo": "DPO",
    "classification": "Classification",
    "token_classification": "Entities",
    "question_answering": "Question answering",
    "embedding": "Embedding",
}

JOB_STEPS = {"data": "Data", "model": "Model", "numbers": "Hyperparameters", "review": "Review"}
# The name of a file's role, and what it is good for.
FILE_ROLES = {
    "training_file": ("Training file", "The examples to learn from."),
    "validation_file": (
        "Validation file",
        "Optional: measured during training, and the best epoch is kept. Says nothing of the base.",
    ),
    "test_file": (
        "Test file",
        "Optional: measured once, at the end, with the base model and the tuned one: shows whether "
        "the job made it better. Other examples than those of the validation file.",
    ),
}
METHOD_TASKS = {
    "supervised": "Answer as the examples do (supervised, LoRA)",
    "dpo": "Prefer one answer over another (DPO, LoRA)",
    "classification": "Put texts into classes (classification)",
    "token_classification": "Find entities in texts (token classification)",
    "question_answering": "Find answers in texts (question answering)",
    "embedding": "Tell which texts belong together (embeddings)",
}


def name_state(state: str) -> str:
    """The word for a state of the API; the API's own, with spaces, for one that has none here."""
    return STATE_WORDS.get(state, state.replace("_", " ").capitalize())


def choose_tone(state: str) -> Tone:
    return STATE_TONES.get(state, Tone.NEUTRAL)


def name_method(method: str) -> str:
    """The word for a training method."""
    return METHOD_WORDS.get(method, method.replace("_", " ").capitalize())


def name_engine(kind: str | None) -> str:
    """The word for a kind of engine; a dash where none serves the model."""
    return formatting.UNKNOWN if kind is None else ENGINE_WORDS.get(kind, kind)


def name_end(reason: str) -> str:
    """The word for the end of an attempt."""
    return END_WORDS.get(reason, reason.replace("_", " ").capitalize())
