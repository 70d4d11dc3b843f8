"""What a request's headers say of its being a repeated one."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from pydantic import BaseModel

from app.services import repeats
from app.services.repeats import Try


@dataclass(frozen=True, slots=True)
class Repetition:
    """The headers of one try, of which `of` makes a try of a request."""

    route: str
    key: str | None
    number: int

    def of(self, project_id: str, asked: BaseModel) -> Try:
        """Raises InvalidRequest for a key that is none."""
        body = asked.model_dump_json()
        return repeats.make_try(project_id, self.route, body, key=self.key, number=self.number)


def _repetition(
    request: Request,
    idempotency_key: Annotated[str | None, Header()] = None,
    # Sent by the official SDKs. Anybody may send anything here, so it is no error.
    x_stainless_retry_count: Annotated[str, Header(include_in_schema=False)] = "0",
) -> Repetition:
    number = int(x_stainless_retry_count[:4]) if x_stainless_retry_count.isdecimal() else 0
    return Repetition(f"{request.method} {request.url.path}", idempotency_key, number)


RepetitionDep = Annotated[Repetition, Depends(_repetition)]
