"""Token sampling: greedy, temperature, nucleus, seeds, penalties and log-probabilities."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import RepetitionPenaltyLogitsProcessor

from tests.growth import assert_linear
from worker.inference.messages import SamplingParams
from worker.inference.sampling import MIN_LOGPROB, NonFiniteLogits, Sampler, sample

LOGITS = [1.0, 3.0, 2.0, 0.0]


def sample_rows(*row_params: SamplingParams, logits: list[float] = LOGITS) -> list[int]:
    """Sample one token per row, each with its own parameters and equal logits."""
    samplers = [Sampler(params, 0) for params in row_params]
    rows = torch.tensor([logits] * len(row_params))
    return [token for token, _ in sample(rows, samplers)]


def sample_repeatedly(params: SamplingParams, count: int, logits: Tensor) -> list[int]:
    """Sample `count` tokens of one choice, from the same logits [vocabulary]."""
    sampler = Sampler(params, 0)
    return [sample(logits[None].clone(), [sampler])[0][0] for _ in range(count)]


class TestGreedy:
    @pytest.mark.parametrize(
        "params", [SamplingParams(temperature=0), SamplingParams(temperature=1e-9)]
    )
    def test_temperature_near_0_takes_the_most_likely_token(self, params: SamplingParams) -> None:
        assert sample_rows(params) == [1]

    def test_top_p_0_is_greedy(self) -> None:
        assert sample_rows(SamplingParams(top_p=0)) == [1]

    def test_rows_are_independent(self) -> None:
        biased = SamplingParams(temperature=0, logit_bias={3: 100})
        plain = SamplingParams(temperature=0)
        assert sample_rows(biased, plain) == [3, 1]


class TestRandomSampling:
    def test_frequencies_match_the_probabilities(self) -> None:
        probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
        counts = Counter(sample_repeatedly(SamplingParams(seed=1), 4000, probabilities.log()))
        for token, probability in enumerate(probabilities.tolist()):
            assert counts[token] / 4000 == pytest.approx(probability, abs=0.03)

    def test_a_low_temperature_sharpens_the_distribution(self) -> None:
        logits = torch.tensor([0.0, 1.0])
        cold = sample_repeatedly(SamplingParams(seed=1, temperature=0.2), 300, logits).count(1)
        hot = sample_repeatedly(SamplingParams(seed=1, temperature=2), 300, logits).count(1)
        assert hot < 220 < 290 < cold

    def test_the_nucleus_excludes_the_tail(self) -> None:
        logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
        drawn = set(sample_repeatedly(SamplingParams(seed=1, top_p=0.79), 500, logits))
        assert drawn == {0, 1}, "0.5 is less than 0.79, so exactly one more token is needed"

    def test_the_nucleus_may_exceed_the_top_k_candidates(self) -> None:
        # Flat, so that the nucleus exceeds NUCLEUS_CANDIDATES.
        logits = torch.zeros(5000)
        drawn = sample_repeatedly(SamplingParams(seed=1, top_p=0.9), 400, logits)
        assert len(set(drawn)) > 300

    def test_a_seed_gives_the_same_tokens_in_any_batch(self) -> None:
        logits = torch.randn(50)
        alone = sample_repeatedly(SamplingParams(seed=5), 20, logits)
        sampler, other = Sampler(SamplingParams(seed=5), 0), Sampler(SamplingParams(), 0)
        rows = torch.stack([torch.randn(50), logits])
        together = [sample(rows.clone(), [other, sampler])[1][0] for _ in range(20)]
        assert together == alone

    def test_choices_with_the_same_seed_differ(self) -> None:
        logits = torch.zeros(1000)
        first, second = (Sampler(SamplingParams(seed=5), choice) for choice in (0, 1))
        tokens = [
            [sample(logits[None].clone(), [sampler])[0][0] for _ in range(5)]
            for sampler in (first, second)
        ]
        assert tokens[0] != tokens[1]


class TestPenalties:
    def test_a66_the_work_of_a_step_does_not_grow_with_the_tokens(self) -> None:
        params = SamplingParams(
            temperature=0, frequency_penalty=1, logit_bias=dict.fromkeys(range(2000), 1.0)
        )

        def prepare(steps: int) -> Callable[[], None]:
            sampler, logits = Sampler(params, 0), torch.zeros(8192)

            def generate() -> None:
                for token in range(steps):
                    sampler.apply_penalties(logits)
                    sampler.observe(token % 8192)

            return generate

        assert_linear(prepare)

    def test_frequency_penalty_counts_and_presence_penalty_does_not(self) -> None:
        for params, expected in (
            (SamplingParams(temperature=0, frequency_penalty=0.6), [1, 1, 2, 1, 2]),
            (SamplingParams(temperature=0, presence_penalty=1.5), [1, 2, 1, 1, 1]),
        ):
            assert sample_repeatedly(params, 5, torch.tensor(LOGITS)) == expected

    def test_a_negative_penalty_favours_repetition(self) -> None:
        sampler = Sampler(SamplingParams(temperature=0, presence_penalty=-2), 0)
        assert sample(torch.tensor([[0.0, 0.0, 3.0, 0.0]]), [sampler])[0][0] == 2
        assert sample(torch.tensor([LOGITS]), [sampler])[0][0] == 2

    def test_logit_bias_bans_or_forces_a_token(self) -> None:
        assert sample_rows(SamplingParams(temperature=0, logit_bias={1: -100})) == [2]
        assert sample_rows(SamplingParams(logit_bias={0: 100})) == [0]


class TestLogprobs:
    def test_logprobs_are_computed_before_bias(self) -> None:
        params = SamplingParams(temperature=0, top_logprobs=2, logit_bias={3: 100})
        token, logprobs = sample(torch.tensor([LOGITS]), [Sampler(params, 0)])[0]
        expected = torch.tensor(LOGITS).log_softmax(-1).tolist()
        assert token == 3
        assert logprobs is not None
        assert logprobs.chosen == pytest.approx(expected[3])
        assert [id for id, _ in logprobs.top] == [1, 2]
        assert [value for _, value in logprobs.top] == pytest.approx([expected[1], expected[2]])

    def test_logprobs_are_not_computed_unless_requested(self) -> None:
        rows = torch.tensor([LOGITS, LOGITS])
        samplers = [Sampler(SamplingParams(), 0), Sampler(SamplingParams(top_logprobs=0), 0)]
        first, second = (logprobs for _, logprobs in sample(rows, samplers))
        assert first is None
        assert second is not None
        assert second.top == ()

    def test_impossible_tokens_have_a_finite_logprob(self) -> None:
        params = SamplingParams(temperature=0, top_logprobs=4)
        _, logprobs = sample(torch.tensor([[0.0, float("-inf"), 1, 2]]), [Sampler(params, 0)])[0]
        assert logprobs is not None
        assert logprobs.top[-1] == (1, MIN_LOGPROB)


def test_nan_logits_raise() -> None:
    with pytest.raises(NonFiniteLogits):
        sample_rows(SamplingParams(), logits=[1.0, float("nan")])


class TestDefaultsOfModels:
    """Values that requests cannot have, and a model's generation_config.json may."""

    def test_top_k_excludes_all_other_tokens(self) -> None:
        logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
        drawn = Counter(sample_repeatedly(SamplingParams(seed=1, top_k=2), 2000, logits))
        assert set(drawn) == {0, 1}
        assert drawn[0] / 2000 == pytest.approx(4 / 7, abs=0.04)

    def test_the_nucleus_is_one_of_the_top_k(self) -> None:
        # Of all tokens 0.6 would need two, of the top two the first is enough.
        logits = torch.tensor([0.4, 0.25, 0.2, 0.15]).log()
        params = SamplingParams(seed=1, top_k=2, top_p=0.6)
        assert set(sample_repeatedly(params, 300, logits)) == {0}

    def test_a_top_k_beyond_the_vocabulary_keeps_all(self) -> None:
        params = SamplingParams(seed=1, top_k=99)
        assert sample_repeatedly(params, 50, torch.tensor(LOGITS)) == sample_repeatedly(
            SamplingParams(seed=1), 50, torch.tensor(LOGITS)
        )

    def test_the_repetition_penalty_is_that_of_transformers(self) -> None:
        params = SamplingParams(temperature=0, repetition_penalty=1.5)
        prompt, logits = [1, 3, 3], torch.tensor([[1.0, 2.0, 1.5, -1.0, 0.5]])
        sampler = Sampler(params, 0, prompt)
        generated: list[int] = []
        for _ in range(4):
            scores = logits.clone()
            seen = torch.tensor([prompt + generated])
            expected = RepetitionPenaltyLogitsProcessor(1.5)(seen, scores.clone())
            penalized = scores[0].clone()
            if generated:
                sampler.apply_penalties(penalized)
                assert torch.allclose(penalized, expected[0])
            ((token, _),) = sample(scores, [sampler])
            assert token == int(expected.argmax())
            generated.append(token)
        assert generated[0] == 2, "not the most likely one, which the prompt has"
