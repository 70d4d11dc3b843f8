"""The CPU-heavy part of an import, for another process: its document is read and planned."""

from pydantic import BaseModel

from app.eval_imports.documents import parse_document
from app.eval_imports.openai_export import plan_openai
from app.eval_imports.plan import ImportFault, ImportFormat, ImportPlan
from app.eval_imports.promptfoo import plan_promptfoo

PROMPTFOO_KEYS = ("tests", "prompts", "providers")
# Of a plan without its files: the API holds and stores it as one value.
MAX_PLAN_BYTES = 4 * 2**20
UNKNOWN = (
    "The document is neither an export of OpenAI's evals nor a config of promptfoo. Expected an "
    "eval object with 'testing_criteria', a list or page of them, or a config with 'tests'."
)


class ImportTask(BaseModel):
    """A document, and its format if the client has named it."""

    content: str
    format: ImportFormat | None = None


class ImportResult(BaseModel):
    """The plan, or the reason why there is none."""

    plan: ImportPlan | None = None
    fault: str | None = None


def run_import_task(payload: bytes) -> bytes:
    """Task of the CPU pool: an ImportTask to an ImportResult, both as JSON."""
    task = ImportTask.model_validate_json(payload)
    try:
        plan = _plan(task)
        _check_size(plan)
        result = ImportResult(plan=plan)
    except ImportFault as fault:
        result = ImportResult(fault=str(fault))
    return result.model_dump_json().encode()


def _check_size(plan: ImportPlan) -> None:
    """Raise ImportFault for evals and runs that are too large, as by one prompt in many runs."""
    size = 0
    for planned in plan.evals:
        for part in (planned.model_copy(update={"runs": []}), *planned.runs):
            size += len(part.model_dump_json().encode())
            if size > MAX_PLAN_BYTES:
                raise ImportFault(
                    f"The document becomes evals and runs of more than {MAX_PLAN_BYTES // 2**20} "
                    "MiB, without their items. Import it in parts."
                )


def _plan(task: ImportTask) -> ImportPlan:
    document = parse_document(task.content)
    is_config = isinstance(document, dict) and any(key in document for key in PROMPTFOO_KEYS)
    if not isinstance(document, dict | list):
        raise ImportFault(UNKNOWN)
    match task.format:
        case ImportFormat.PROMPTFOO if isinstance(document, dict):
            return plan_promptfoo(document)
        case ImportFormat.OPENAI:
            return plan_openai(document)
        case None if isinstance(document, dict) and is_config:
            return plan_promptfoo(document)
        case None:
            return plan_openai(document)
    raise ImportFault(UNKNOWN)
