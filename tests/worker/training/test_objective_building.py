"""Objectives of chat jobs: which products they compute in int8 where the operator wants it."""

from typing import Any

import pytest
from structlog.testing import capture_logs
from transformers import PretrainedConfig

from app.recipes.chat import choose_recipe
from tests.worker.training.conftest import MakeRun
from tests.worker.training.test_forward import GEMMA3, LLAMA, model_with_adapter
from worker.training.objective_building import build_supervised
from worker.training.ranks import ALONE, Ranks


@pytest.mark.parametrize(
    ("config", "quantization", "processes", "reason"),
    [
        (LLAMA, "nf4", 1, "4 bits"),
        (GEMMA3, "none", 1, "not Llama-shaped"),
        (LLAMA, "none", 2, "divided among processes"),
    ],
    ids=["nf4", "gemma3", "sharded"],
)
def test_a_job_whose_products_cannot_be_in_int8_says_why(
    make_run: MakeRun, config: PretrainedConfig, quantization: str, processes: int, reason: str
) -> None:
    model = model_with_adapter(config)
    found: list[Any] = []
    for int8 in (False, True):
        options = {"quantization": quantization}
        spec = make_run(
            str(int8),
            int8=int8,
            native_kernels=False,
            sharded=processes > 1,
            processes=processes,
            hyperparameters=options,
        ).read_spec()
        recipe = choose_recipe(options, examples=12, hidden_size=48, model_type="llama")
        ranks = ALONE if processes == 1 else Ranks(0, processes, seed=5)
        with capture_logs() as lines:
            build_supervised(spec, recipe, model, [], ranks)
        found.append([line["reason"] for line in lines if line["event"] == "training.int8_unused"])
    without, (told,) = found
    assert without == []
    assert reason in told
