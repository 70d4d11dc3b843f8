"""A job that is being filled in: all of it is in the URL, so that every step has a way back."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from app.console import number_fields
from app.console.api_client import ApiCallError

FILE_ROLES = ("training_file", "validation_file", "test_file")
MAX_VALUE_CHARS = 300


class Step(StrEnum):
    """The steps of the form, in order."""

    DATA = "data"
    MODEL = "model"
    NUMBERS = "numbers"
    REVIEW = "review"


STEPS_BY_FIELD = {
    **dict.fromkeys(FILE_ROLES, Step.DATA),
    "model": Step.MODEL,
    "method": Step.MODEL,
    "suffix": Step.NUMBERS,
    "seed": Step.NUMBERS,
    **dict.fromkeys(number_fields.BY_NAME, Step.NUMBERS),
}


@dataclass(frozen=True, slots=True)
class JobDraft:
    """Values by field, as they were typed; empty ones are left out."""

    values: Mapping[str, str]

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> "JobDraft":
        return cls(
            {
                name: query[name].strip()[:MAX_VALUE_CHARS]
                for name in STEPS_BY_FIELD
                if query.get(name, "").strip()
            }
        )

    @property
    def method(self) -> str:
        return self.values.get("method", "supervised")

    def get(self, name: str) -> str:
        return self.values.get(name, "")

    def link(self, step: str, **changes: str) -> str:
        """The query of a step, with some values changed; an empty one is removed."""
        values = {"step": step, **self.values, **changes}
        return "?" + urlencode({name: value for name, value in values.items() if value})

    def outside(self, step: Step) -> dict[str, str]:
        """The values that the form of a step does not show, and has to pass on."""
        return {name: value for name, value in self.values.items() if STEPS_BY_FIELD[name] != step}

    def build_body(self) -> dict[str, Any]:
        """The body of POST /v1/fine_tuning/jobs."""
        body: dict[str, Any] = {"model": self.get("model")}
        body |= {name: self.values[name] for name in FILE_ROLES if name in self.values}
        numbers = {
            field.name: field.parse(self.values[field.name])
            for field in number_fields.list_fields(self.method)
            if field.name in self.values
        }
        block = {self.method: {"hyperparameters": numbers}} if numbers else {}
        body["method"] = {"type": self.method, **block}
        if "suffix" in self.values:
            body["suffix"] = self.values["suffix"]
        if "seed" in self.values:
            body["seed"] = number_fields.parse_number(self.values["seed"])
        return body


def find_field(error: ApiCallError) -> str | None:
    """The field of the form that an error of the API names."""
    parts = (error.param or "").split(".")
    if parts[-1] == "type":
        return "method"
    return parts[-1] if parts[-1] in STEPS_BY_FIELD else None


def write_curl(body: Mapping[str, Any], api_url: str) -> str:
    """The request as a command for a shell that has OPENAI_API_KEY."""
    data = json.dumps(body, ensure_ascii=False, indent=2)
    return (
        f"curl {shlex.quote(api_url + '/fine_tuning/jobs')} \\\n"
        '  -H "Authorization: Bearer $OPENAI_API_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(data)}"
    )


def write_python(body: Mapping[str, Any], api_url: str) -> str:
    """The request as a program with OpenAI's client, which reads OPENAI_API_KEY."""
    given = dict(body)
    # A field that only this API has.
    test_file = given.pop("test_file", None)
    if test_file is not None:
        given["extra_body"] = {"test_file": test_file}
    arguments = "".join(f"    {name}={value!r},\n" for name, value in given.items())
    return (
        "from openai import OpenAI\n\n"
        f"client = OpenAI(base_url={api_url!r})\n"
        f"job = client.fine_tuning.jobs.create(\n{arguments})\n"
        "print(job.id)"
    )
