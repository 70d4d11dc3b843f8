"""Bounds of a comparison by what the engine computes in, and the error of the adapter's scaling."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from app.catalog import Quantization
from tests.worker.training.serving_check.conftest import (
    Measured,
    find_comparison,
    find_note,
)
from worker.comparison_notes import ComparisonNote
from worker.training.serving_check import check
from worker.training.serving_check.bounds import (
    THROUGHOUT,
    Comparison,
    Verdict,
    compare,
    name_precision,
)
from worker.training.serving_check.check import check_as_served

TOKENS = 160
ROW = np.linspace(-3, -1, TOKENS, dtype=np.float32)
# Up and down: what rounding does.
NOISE = np.resize(np.array([1, -1, -1, 1], dtype=np.float32), TOKENS)
# What an adapter whose effect is a tenth larger does to each token.
EFFECT = np.resize(np.array([0.1, 0.05, 0.02, -0.01], dtype=np.float32), TOKENS)


def compare_with(
    precision: str, *, noise: float = 0.0, scaling: float = 0.0, effect: float = 1.0
) -> Comparison:
    """Compare rows that differ by noise, and by an error of the scaling."""
    served = ROW + noise * NOISE + scaling * 10 * effect * EFFECT
    return compare(precision, [ROW], [served], scaled=[ROW + effect * EFFECT])


@pytest.mark.parametrize(
    ("precision", "noise", "verdict"),
    [
        ("bfloat16", 0.03, Verdict.AGREES),
        ("bfloat16", 0.1, Verdict.DIFFERS),
        ("bfloat16", 0.2, Verdict.FAULT),
        (Quantization.INT8, 0.08, Verdict.AGREES),
        (Quantization.INT8, 0.2, Verdict.DIFFERS),
        (Quantization.INT8, 0.35, Verdict.FAULT),
        (THROUGHOUT, 0.12, Verdict.AGREES),
        (THROUGHOUT, 0.5, Verdict.DIFFERS),
        (THROUGHOUT, 0.8, Verdict.FAULT),
        ("bfloat16", float("nan"), Verdict.FAULT),
    ],
)
def test_a_difference_is_judged_by_what_the_engine_computes_in(
    precision: str, noise: float, verdict: Verdict
) -> None:
    assert compare_with(precision, noise=noise).verdict is verdict


@pytest.mark.parametrize("scaling", [0.1, -0.1, 0.06])
def test_a_small_error_of_the_scaling_is_a_fault(scaling: float) -> None:
    """Although its mean difference is one that rounding may explain."""
    compared = compare_with("bfloat16", noise=0.02, scaling=scaling)
    assert compared.mean_difference < 0.5 * compared.limit
    assert compared.scaling_error == pytest.approx(scaling, rel=0.1)
    assert compared.verdict is Verdict.FAULT
    changed = "more" if scaling > 0 else "less"
    expected = f"the adapter's effect is {abs(scaling):.0%} {changed} by the engine"
    assert expected in check._describe_fault(compared, "training file")


def test_rounding_has_no_direction() -> None:
    assert compare_with("bfloat16", noise=0.04).scaling_error == pytest.approx(0, abs=0.02)
    weak = compare_with("bfloat16", noise=0.04, scaling=0.1, effect=0.001)
    assert weak.verdict is Verdict.AGREES, "an adapter without effect has none to measure"
    none = compare_with("bfloat16", noise=0.04, effect=0.0)
    assert (none.scaling_error, none.verdict) == (0, Verdict.AGREES)


def test_models_of_other_families_round_everything() -> None:
    assert name_precision(torch.bfloat16, "", is_throughout=True) == THROUGHOUT
    assert name_precision(torch.float32, "", is_throughout=True) == "float32"
    assert name_precision(torch.bfloat16, Quantization.INT8) == "int8"


@pytest.mark.usefixtures("training_settings")
@pytest.mark.parametrize("measured", ["float32"], indirect=True)
def test_a_quantized_model_is_compared_as_it_is_served(measured: Measured) -> None:
    folder, trained = measured
    spec = folder.read_spec()
    folder.write_spec(replace(spec, model=spec.model | {"quantization": "int8"}))
    check_as_served(folder, trained)
    report = find_comparison(folder)
    assert report["dtype"] == "int8"
    # In float32 both agree within 1e-6.
    assert report["mean_difference"] > 1e-4
    assert report["verdict"] != "fault"


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [(1e-6, Verdict.AGREES), (0.0015, Verdict.FAULT), (0.1, Verdict.FAULT)],
)
def test_the_bound_in_float32_is_strict(difference: float, verdict: Verdict) -> None:
    compared = compare("float32", [ROW], [ROW + difference])
    assert compared.verdict is verdict
    assert compared.scaling_error is None


def test_differences_of_tokens_count_where_they_cancel_out_on_average() -> None:
    assert compare("float32", [ROW], [ROW + 0.01 * NOISE]).verdict is Verdict.FAULT


@pytest.mark.usefixtures("training_settings")
@pytest.mark.parametrize("measured", ["bfloat16"], indirect=True)
def test_a_difference_in_bfloat16_that_may_be_rounding_is_a_warning(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, trained = measured
    report = find_comparison(folder)
    assert report["dtype"] == "bfloat16"
    served = check.compute_served_logprobs

    def shifted(*arguments: object) -> object:
        return [logprobs + 0.1 for logprobs in served(*arguments)]  # type: ignore[arg-type]

    monkeypatch.setattr(check, "compute_served_logprobs", shifted)
    check_as_served(folder, trained)
    key, message, is_warning = find_note(folder)
    assert (key, is_warning) == (ComparisonNote.DIFFERS, True)
    assert f"{report['trained']:.4f} in training" in message
    assert "0.05 is usual in bfloat16" in message
    assert find_comparison(folder)["verdict"] == "differs"


@pytest.mark.usefixtures("training_settings")
@pytest.mark.parametrize("measured", ["bfloat16"], indirect=True)
def test_training_measures_the_weights_without_rounding(measured: Measured) -> None:
    """In float32: the same job's values in bfloat16 differ from them by more than the engine's."""
    folder, trained = measured
    report = find_comparison(folder)
    assert report["mean_difference"] < 0.05
    assert report["scaling_error"] == pytest.approx(0, abs=0.02)
    ours, scaled = np.concatenate(trained.logprobs), np.concatenate(trained.scaled)
    assert abs(scaled - ours).mean() > 0.01
