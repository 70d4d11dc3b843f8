"""Request and response bodies of imports of evals."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.eval_imports.plan import Difference, ImportFormat
from app.evals.schemas import EvalObject
from app.files.schemas import FileObject
from app.jobs.schemas import NonBlankName

MAX_CONTENT_CHARS = 2**20
EXAMPLE: JsonDict = {
    "content": """
prompts: ["Which team: {{ticket}}"]
tests:
  - vars: {ticket: I was charged twice.}
    assert: [{type: icontains, value: billing}]
""",
    "format": "promptfoo",
}


class ImportEvals(BaseModel):
    """Body of POST /v1/evals/import, an extension of OpenAI's API.

    `content` is the text of the document. `judge_model` judges where the document names no judge,
    or one that is not here.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    content: Annotated[str, Field(min_length=1, max_length=MAX_CONTENT_CHARS)]
    format: ImportFormat | None = None
    judge_model: NonBlankName | None = None


class ImportedRun(BaseModel):
    """The body of a run that can be created of the eval, once `data_source` has all it needs."""

    name: str | None
    metadata: dict[str, str] | None
    data_source: dict[str, Any]


class ImportedEval(BaseModel):
    """An eval, the file of its items if the document's tests are those, and runs to create."""

    eval: EvalObject
    file: FileObject | None
    runs: list[ImportedRun]


class EvalImport(BaseModel):
    """Objects made of a document, and the parts that are left out or changed."""

    object: Literal["eval.import"] = "eval.import"
    format: ImportFormat
    data: list[ImportedEval]
    differences: list[Difference]
