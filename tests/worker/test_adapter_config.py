"""The config of an adapter is what the installed PEFT writes."""

import tomllib
from importlib.metadata import version
from typing import Any

import pytest
from packaging.requirements import Requirement
from peft import LoraConfig

from tests.conftest import ROOT
from worker.adapter_config import make_adapter_config


@pytest.mark.parametrize("task_type", ["CAUSAL_LM", "FEATURE_EXTRACTION"])
def test_it_has_all_that_peft_writes(task_type: str) -> None:
    ours = make_adapter_config(
        task_type, rank=8, alpha=16, dropout=0.1, target_modules={"v", "q"}, base_model="tiny"
    )
    theirs: dict[str, Any] = LoraConfig(
        task_type=task_type,
        r=8,
        lora_alpha=16,
        lora_dropout=0.1,
        target_modules=["q", "v"],
        inference_mode=True,
        base_model_name_or_path="tiny",
    ).to_dict()  # type: ignore[no-untyped-call]
    assert ours == {**theirs, "target_modules": ["q", "v"]}


def test_other_minor_versions_of_peft_are_not_installed() -> None:
    """They may write other fields than those that are listed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = map(Requirement, project["optional-dependencies"]["worker"])
    (peft,) = (requirement for requirement in wanted if requirement.name == "peft")
    major, minor, *_ = map(int, version("peft").split("."))
    allowed = [minor + step for step in (-1, 0, 1) if f"{major}.{minor + step}.9" in peft.specifier]
    assert allowed == [minor]
