"""Where else a job's metrics go: Weights & Biases."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.wire.base import max_items

WandbName = Annotated[str, Field(min_length=1, max_length=128)]
WandbTag = Annotated[str, Field(min_length=1, max_length=64)]


class Wandb(BaseModel):
    """A run there: `name` is the job's id if it has none, `entity` the key's own."""

    project: WandbName
    name: WandbName | None = None
    entity: WandbName | None = None
    tags: Annotated[list[WandbTag], max_items(50, "tags")] = []


class Integration(BaseModel):
    type: Literal["wandb"]
    wandb: Wandb


Integrations = Annotated[list[Integration], max_items(5, "integrations")]
