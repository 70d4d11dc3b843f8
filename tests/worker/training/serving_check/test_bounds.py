"""Bounds of a comparison: strict in float32, the base model's own difference in bfloat16."""

from dataclasses import replace

import numpy as np
import pytest

from tests.worker.training.serving_check.conftest import (
    Measured,
    find_comparison,
    find_note,
)
from worker.comparison_notes import ComparisonNote
from worker.training.serving_check import check, check_as_served
from worker.training.serving_check.bounds import Comparison, Verdict, compare

NONE: list[np.ndarray] = []
ROW = np.linspace(-3, -1, 16, dtype=np.float32)


def compare_bfloat16(tuned: float, base: float) -> Comparison:
    """Compare rows of which the engine's differ by these amounts, up and down."""
    signs = np.resize(np.array([1, -1], dtype=np.float32), len(ROW))
    served = ([ROW + tuned * signs], [ROW + base * signs])
    return compare("bfloat16", ([ROW], [ROW]), served)


@pytest.mark.parametrize(
    ("tuned", "base", "verdict"),
    [
        (0.04, 0.03, Verdict.AGREES),
        (0.1, 0.03, Verdict.DIFFERS),
        # Another model, whose own rounding is larger.
        (0.1, 0.07, Verdict.AGREES),
        # A model with hardly any: the adapter's rounding remains.
        (0.015, 0.0, Verdict.AGREES),
        # Of an adapter alone, since both agree on the base model.
        (0.5, 0.07, Verdict.DIFFERS),
        (0.75, 0.07, Verdict.FAULT),
        (0.35, 0.03, Verdict.FAULT),
        (0.35, 0.2, Verdict.FAULT),
        # A fault that both models share.
        (0.5, 0.5, Verdict.FAULT),
        (float("nan"), 0.03, Verdict.FAULT),
    ],
)
def test_the_base_models_rounding_is_the_measure_in_bfloat16(
    tuned: float, base: float, verdict: Verdict
) -> None:
    assert compare_bfloat16(tuned, base).verdict is verdict


def test_int8_rounds_more_than_bfloat16() -> None:
    served = ([ROW + np.resize(np.array([0.04, -0.04], dtype=np.float32), len(ROW))], [ROW])
    verdicts = [
        compare(precision, ([ROW], [ROW]), served).verdict for precision in ("int8", "bfloat16")
    ]
    assert verdicts == [Verdict.AGREES, Verdict.DIFFERS]


@pytest.mark.usefixtures("training_settings")
@pytest.mark.parametrize("measured", ["float32"], indirect=True)
def test_a_quantized_model_is_compared_as_it_is_served(measured: Measured) -> None:
    folder, trained = measured
    spec = folder.read_spec()
    folder.write_spec(replace(spec, model=spec.model | {"quantization": "int8"}))
    trained = replace(trained, base=trained.logprobs)
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
    compared = compare("float32", ([ROW], NONE), ([ROW + difference], NONE))
    assert compared.verdict is verdict
    assert compared.base_difference is None


def test_differences_of_tokens_count_where_they_cancel_out_on_average() -> None:
    signs = np.resize(np.array([0.01, -0.01], dtype=np.float32), len(ROW))
    assert compare("float32", ([ROW], NONE), ([ROW + signs], NONE)).verdict is Verdict.FAULT


@pytest.mark.usefixtures("training_settings")
@pytest.mark.parametrize("measured", ["bfloat16"], indirect=True)
def test_a_difference_in_bfloat16_that_may_be_rounding_is_a_warning(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, trained = measured
    report = find_comparison(folder)
    assert report["dtype"] == "bfloat16"
    assert report["base_difference"] is not None
    served = check.compute_served_logprobs

    def shifted(*arguments: object, **options: bool) -> object:
        tuned, base = served(*arguments, **options)  # type: ignore[arg-type]
        return [logprobs + 0.2 for logprobs in tuned], base

    monkeypatch.setattr(check, "compute_served_logprobs", shifted)
    check_as_served(folder, trained)
    key, message, is_warning = find_note(folder)
    assert (key, is_warning) == (ComparisonNote.DIFFERS, True)
    assert f"{report['trained']:.4f} in training" in message
    assert f"those of the base model differ by {report['base_difference']:.2g}" in message
    assert find_comparison(folder)["verdict"] == "differs"


@pytest.mark.parametrize("measured", ["bfloat16"], indirect=True)
@pytest.mark.usefixtures("training_settings")
def test_the_bases_values_are_those_without_the_adapter(measured: Measured) -> None:
    """A base that kept its adapter would have the difference of the tuned model."""
    _, trained = measured
    tuned, base = np.concatenate(trained.logprobs), np.concatenate(trained.base)
    assert abs(tuned - base).mean() > 0.3
