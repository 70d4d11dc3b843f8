"""Where else a job's metrics go: Weights & Biases."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.wire.base import at_most

Text = Annotated[str, Field(min_length=1, max_length=128)]
Tag = Annotated[str, Field(min_length=1, max_length=64)]


class Wandb(BaseModel):
    """A run there: `name` is the job's id if it has none, `entity` the key's own."""

    project: Text
    name: Text | None = None
    entity: Text | None = None
    tags: Annotated[list[Tag], at_most(50, "tags")] = []


class Integration(BaseModel):
    type: Literal["wandb"]
    wandb: Wandb


Integrations = Annotated[list[Integration], at_most(5, "integrations")]
