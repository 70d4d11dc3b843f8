"""Population stability index: its value, its noise threshold, and the minimum number of texts."""

import math
import random

import pytest

from app.histogram_bins import DURATION_BINS, TEXT_LENGTH_BINS
from app.monitoring import drift


def test_psi_follows_the_published_formula() -> None:
    """Computed by hand: shares .5/.5 against .75/.25, with a pseudocount of .5 in each bin."""
    expected, actual = [500, 500], [750, 250]
    shares = [(500.5 / 1001, 750.5 / 1001), (500.5 / 1001, 250.5 / 1001)]
    by_hand = sum((a - e) * math.log(a / e) for e, a in shares)
    assert drift.compute_psi(expected, actual) == pytest.approx(by_hand)
    assert drift.compute_psi(expected, expected) == 0
    assert drift.compute_psi([10, 0], [0, 10]) < math.inf, "an empty bin is smoothed"


def test_samples_of_one_distribution_stay_below_the_noise_threshold() -> None:
    generator = random.Random(7)
    above = 0
    for _ in range(200):
        samples = [[generator.randrange(20) for _ in range(size)] for size in (2000, 500)]
        expected, actual = ([part.count(n) for n in range(20)] for part in samples)
        above += drift.compute_psi(expected, actual) > drift.compute_noise_threshold(20, 2000, 500)
    assert 0 < above < 30, "about 5 % of 200"


def test_many_labels_and_few_texts_are_noise() -> None:
    """77 labels, 150 texts: by the rule of thumb alone, this noise would be drift."""
    generator = random.Random(1)
    expected = dict.fromkeys(range(77), 100)
    actual: dict[int, int] = {}
    for _ in range(150):
        label = generator.randrange(77)
        actual[label] = actual.get(label, 0) + 1
    result = drift.compute_categorical_drift(expected, actual)
    assert result.psi is not None
    assert result.psi > drift.SIGNIFICANT_PSI
    assert result.state == "stable"


def test_longer_texts_drift_and_few_texts_are_insufficient_data() -> None:
    generator = random.Random(2)
    training = TEXT_LENGTH_BINS.count([int(generator.gauss(40, 8)) for _ in range(1000)])
    same = TEXT_LENGTH_BINS.count([int(generator.gauss(40, 8)) for _ in range(300)])
    longer = TEXT_LENGTH_BINS.count([int(generator.gauss(90, 8)) for _ in range(300)])
    assert drift.compute_ordinal_drift(training, same).state == "stable"
    assert drift.compute_ordinal_drift(training, longer).state == "drifted"
    few = drift.compute_ordinal_drift(training, TEXT_LENGTH_BINS.count([90] * 99))
    assert (few.psi, few.noise_threshold) == (None, None)
    assert (few.state, few.texts) == ("insufficient_data", 99)


def test_lengths_above_the_training_files_maximum_are_drift() -> None:
    """They form a group of their own, even if the baseline's last bins are small."""
    assert drift.compute_ordinal_drift({3: 990, 4: 10}, {3: 130, 12: 20}).state == "drifted"


def test_quantiles_lie_within_their_bins() -> None:
    counts = DURATION_BINS.count([0.07] * 90 + [0.3] * 10)
    middle, late = DURATION_BINS.quantile(counts, 0.5), DURATION_BINS.quantile(counts, 0.95)
    assert middle is not None
    assert late is not None
    assert 0.05 < middle <= 0.1
    assert 0.25 < late <= 0.5
    assert DURATION_BINS.quantile({}, 0.5) is None
    assert DURATION_BINS.quantile({len(DURATION_BINS.bounds): 3}, 0.5) == DURATION_BINS.bounds[-1]
