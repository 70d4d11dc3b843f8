"""Warnings of loss spikes and of overfitting."""

from collections.abc import Sequence

from worker.training.loss_warnings import MAX_SPIKE_WARNINGS, LossWarnings


def watch(losses: Sequence[float], valid: Sequence[float] = (), *, epoch: int = 0) -> list[str]:
    """The keys of the warnings; each `epoch` steps the next validation loss is measured."""
    warnings = LossWarnings()
    keys: list[str] = []
    for step, loss in enumerate(losses, start=1):
        is_end = bool(epoch) and step % epoch == 0
        values = {"train_loss": loss}
        if is_end and valid:
            values["full_valid_loss"] = valid[step // epoch - 1]
        keys += [note.key for note in warnings.update(step, values, is_epoch_end=is_end)]
    return keys


NOISY = [2.0, 2.2, 1.9, 2.1, 2.3, 1.8, 2.0, 2.2, 1.9, 2.1, 2.0, 1.9]


def test_a_single_high_loss_is_a_spike() -> None:
    assert watch([*NOISY, 9.0, *NOISY]) == ["loss_spike:13"]


def test_noise_and_the_first_steps_are_no_spikes() -> None:
    assert watch([*NOISY, 2.6, *NOISY]) == []
    assert watch([2.0, 9.0, 2.0]) == []


def test_few_spikes_are_told() -> None:
    assert len(watch([*NOISY, *([*NOISY, 30.0] * 5)])) <= MAX_SPIKE_WARNINGS


def test_a_validation_loss_that_rises_while_training_learns_is_overfitting() -> None:
    losses = [2.0] * 4 + [1.5] * 4 + [1.0] * 4
    assert watch(losses, [1.8, 1.7, 1.9], epoch=4) == ["overfitting"]


def test_losses_that_rise_together_are_not_overfitting() -> None:
    assert watch([2.0] * 4 + [2.1] * 4, [1.8, 1.9], epoch=4) == []


def test_a_small_rise_is_not_overfitting() -> None:
    assert watch([2.0] * 4 + [1.5] * 4, [1.8, 1.81], epoch=4) == []


def test_training_without_validation_has_no_warning() -> None:
    assert watch([2.0] * 4 + [1.5] * 4, epoch=4) == []
