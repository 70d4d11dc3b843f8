"""The config of an adapter is what the installed PEFT writes."""

from typing import Any

import pytest
from peft import LoraConfig

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
