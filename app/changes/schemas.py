"""Notices of changes on the wire."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel


class NoticeType(StrEnum):
    """Kinds of objects that change, and two notices about the stream itself.

    ready  the stream has begun: read now what is shown
    reset  changes may have been missed: read again what is shown
    """

    JOB = "fine_tuning.job"
    FILE = "file"
    BATCH = "batch"
    EVAL_RUN = "eval.run"
    MODEL_EXPORT = "model.export"
    READY = "ready"
    RESET = "reset"


class ChangeNotice(BaseModel):
    """Notice that an object was created, changed or deleted; `id` is that of the object, or the
    model's name for an export."""

    object: Literal["change"] = "change"
    type: NoticeType
    id: str | None
    seq: int
