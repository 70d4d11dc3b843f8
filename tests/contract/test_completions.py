"""Legacy completions and causal embeddings on the live stack: real SmolLM2, official SDK."""

import numpy as np
import pytest
from openai import BadRequestError, OpenAI

from tests.contract.running_stack import BASE

pytestmark = pytest.mark.live


def test_a_text_goes_on(client: OpenAI) -> None:
    answer = client.completions.create(
        model=BASE, prompt="The capital of France is", temperature=0, max_tokens=4, logprobs=2
    )
    (choice,) = answer.choices
    assert "Paris" in choice.text
    assert choice.logprobs is not None
    assert len(choice.logprobs.tokens or []) == 4
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4


def test_what_is_likelier_as_evaluations_ask(loose: OpenAI) -> None:
    prompt = "The capital of France is"

    def chance(end: str) -> float:
        answer = loose.completions.create(
            model=BASE, prompt=prompt + end, max_tokens=0, echo=True, logprobs=1
        )
        scored = answer.choices[0].logprobs
        assert scored is not None
        values = zip(scored.text_offset or [], scored.token_logprobs or [], strict=True)
        return sum(value for offset, value in values if offset >= len(prompt))

    assert chance(" Paris") > chance(" Madrid") > chance(" xylophone")


def test_a_stream_says_the_same(loose: OpenAI) -> None:
    whole = loose.completions.create(model=BASE, prompt="One, two,", temperature=0)
    events = loose.completions.create(model=BASE, prompt="One, two,", temperature=0, stream=True)
    assert "".join(event.choices[0].text for event in events) == whole.choices[0].text


def test_a_suffix_is_refused_as_it_was_by_chat_models(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as refused:
        client.completions.create(model=BASE, prompt="a", suffix="b")
    assert refused.value.param == "suffix"


def test_vectors_of_a_causal_model(loose: OpenAI) -> None:
    texts = ["My parcel is late.", "Where is my package?", "The fox jumps over the moon."]
    found = loose.embeddings.create(model=BASE, input=texts)
    a, b, c = (np.array(item.embedding) for item in found.data)
    assert np.isclose(np.linalg.norm(a), 1, atol=1e-3)
    assert a @ b > a @ c
