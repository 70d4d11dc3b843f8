"""Legacy completions and causal embeddings on the live stack: real SmolLM2, official SDK."""

import json

import numpy as np
import pytest
from openai import BadRequestError, OpenAI

from tests.contract.running_stack import BASE

pytestmark = pytest.mark.live


def test_a_prompt_is_completed(client: OpenAI) -> None:
    answer = client.completions.create(
        model=BASE, prompt="The capital of France is", temperature=0, max_tokens=4, logprobs=2
    )
    (choice,) = answer.choices
    assert "Paris" in choice.text
    assert choice.logprobs is not None
    assert len(choice.logprobs.tokens or []) == 4
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4


def test_echo_scores_continuations_as_evaluation_harnesses_do(lenient_client: OpenAI) -> None:
    prompt = "The capital of France is"

    def log_likelihood(continuation: str) -> float:
        answer = lenient_client.completions.create(
            model=BASE, prompt=prompt + continuation, max_tokens=0, echo=True, logprobs=1
        )
        logprobs = answer.choices[0].logprobs
        assert logprobs is not None
        values = zip(logprobs.text_offset or [], logprobs.token_logprobs or [], strict=True)
        return sum(value for offset, value in values if offset >= len(prompt))

    assert log_likelihood(" Paris") > log_likelihood(" Madrid") > log_likelihood(" xylophone")


def test_a_stream_equals_the_whole_completion(lenient_client: OpenAI) -> None:
    whole = lenient_client.completions.create(model=BASE, prompt="One, two,", temperature=0)
    events = lenient_client.completions.create(
        model=BASE, prompt="One, two,", temperature=0, stream=True
    )
    assert "".join(event.choices[0].text for event in events) == whole.choices[0].text


def test_a_suffix_is_rejected(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as raised:
        client.completions.create(model=BASE, prompt="a", suffix="b")
    assert raised.value.param == "suffix"


def test_embeddings_of_a_causal_model(lenient_client: OpenAI) -> None:
    texts = ["My parcel is late.", "Where is my package?", "The fox jumps over the moon."]
    found = lenient_client.embeddings.create(model=BASE, input=texts)
    a, b, c = (np.array(item.embedding) for item in found.data)
    assert np.isclose(np.linalg.norm(a), 1, atol=1e-3)
    assert a @ b > a @ c


def test_an_answer_of_a_schema(lenient_client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    answer = lenient_client.completions.create(
        model=BASE,
        prompt="The number seven as JSON:",
        max_tokens=32,
        temperature=0,
        extra_body={
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "number", "schema": schema, "strict": True},
            }
        },
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert isinstance(json.loads(choice.text)["n"], int)
