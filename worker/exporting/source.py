"""Source of a conversion: a fine-tuned model's adapter, and its base model."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from app.catalog import CatalogModel, HubModel
from worker.encoding.task import EncoderTask, has_task, read_task
from worker.export_spec import ExportSpec
from worker.modeling import ADAPTER_CONFIG_FILE


@dataclass(frozen=True)
class ExportSource:
    """A model to convert. `base_folder` has its base model in Hugging Face's layout."""

    spec: ExportSpec
    base: CatalogModel
    base_folder: Path
    adapter_folder: Path

    @cached_property
    def adapter_config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(
            (self.adapter_folder / ADAPTER_CONFIG_FILE).read_bytes()
        )
        return config

    @cached_property
    def base_config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.base_folder / "config.json").read_bytes())
        return config

    @cached_property
    def task(self) -> EncoderTask | None:
        """The task of an encoder or classifier; None for a generative model."""
        return read_task(self.adapter_folder) if has_task(self.adapter_folder) else None

    @property
    def hub(self) -> HubModel | None:
        """Repository of the base model on the hub, if the catalog knows it."""
        return self.base.hub_model
