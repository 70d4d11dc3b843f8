"""Chat completions on the live stack: real SmolLM2, official SDK, strict validation."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import BASE, Stack
from tests.polling import wait_until

pytestmark = pytest.mark.live

CAPITAL: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the capital of France? Answer in one sentence."}
]


def test_the_base_model_answers_a_factual_question(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=BASE, messages=CAPITAL, temperature=0, max_completion_tokens=40
    )
    choice = answer.choices[0]
    assert answer.model == BASE
    assert "Paris" in (choice.message.content or "")
    assert choice.finish_reason == "stop"
    assert choice.logprobs is None
    assert choice.message.annotations == []
    assert answer.service_tier == "default"
    assert answer.system_fingerprint.startswith("fp_")
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details.rejected_prediction_tokens == 0
    assert answer.usage.prompt_tokens > 10
    assert 0 < answer.usage.completion_tokens < 40
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_equals_the_whole_completion(client: OpenAI) -> None:
    whole = client.chat.completions.create(
        model=BASE, messages=CAPITAL, temperature=0, max_completion_tokens=30
    )
    stream = client.chat.completions.create(
        model=BASE,
        messages=CAPITAL,
        temperature=0,
        max_completion_tokens=30,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert {chunk.service_tier for chunk in chunks} == {"default"}
    assert {chunk.system_fingerprint for chunk in chunks} == {whole.system_fingerprint}
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage


def test_earlier_messages_are_context(client: OpenAI) -> None:
    """Only the earlier messages tell that a capital is wanted."""
    answer = client.chat.completions.create(
        model=BASE,
        messages=[
            {"role": "user", "content": "What is the capital of France?"},
            {"role": "assistant", "content": "The capital of France is Paris."},
            {"role": "user", "content": "And of Germany?"},
        ],
        temperature=0,
        max_completion_tokens=20,
    )
    assert "Berlin" in (answer.choices[0].message.content or "")


def test_max_tokens_and_stop_end_a_completion(client: OpenAI) -> None:
    short = client.chat.completions.create(
        model=BASE, messages=CAPITAL, temperature=0, max_tokens=3
    )
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens == 3
    stopped = client.chat.completions.create(
        model=BASE, messages=CAPITAL, temperature=0, max_completion_tokens=40, stop=["Par"]
    )
    assert stopped.choices[0].finish_reason == "stop"
    assert "Par" not in (stopped.choices[0].message.content or "")


def test_equal_seeds_sample_equal_texts(client: OpenAI) -> None:
    def sample(seed: int) -> str | None:
        answer = client.chat.completions.create(
            model=BASE,
            messages=[{"role": "user", "content": "Write a short poem about the sea."}],
            temperature=1.2,
            top_p=0.95,
            seed=seed,
            max_completion_tokens=24,
        )
        return answer.choices[0].message.content

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(2, 6)}) > 1


def test_several_choices_with_logprobs(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=BASE,
        messages=CAPITAL,
        n=2,
        temperature=0,
        max_completion_tokens=5,
        logprobs=True,
        top_logprobs=3,
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert len(choice.logprobs.content) == 5
        for token in choice.logprobs.content:
            assert token.logprob <= 0
            assert len(token.top_logprobs) == 3
            assert token.top_logprobs[0].token == token.token, (
                "greedy decoding picks the most likely token"
            )
            assert sum(math.exp(top.logprob) for top in token.top_logprobs) <= 1.001
        text = "".join(token.token for token in choice.logprobs.content)
        assert text == choice.message.content


def test_concurrent_clients_get_their_own_completions(
    client: OpenAI, succeeded_job: FineTuningJob
) -> None:
    questions = [f"What is {n} plus {n}?" for n in range(1, 7)]

    def complete(question: str) -> str | None:
        answer = client.chat.completions.create(
            model=BASE,
            messages=[{"role": "user", "content": question}],
            temperature=0,
            max_completion_tokens=16,
        )
        return answer.choices[0].message.content

    with ThreadPoolExecutor(6) as pool:
        completions = list(pool.map(complete, questions))
    assert len(set(completions)) > 1
    assert all(completions)


def test_a_disconnect_stops_the_generation(stack: Stack, client: OpenAI) -> None:
    def running_requests() -> float:
        engine = stack.engine_metrics()
        return engine["luthier_engine_running_requests"]

    stream = client.chat.completions.create(
        model=BASE,
        messages=[{"role": "user", "content": "Count from 1 to 1000, one number a line."}],
        stream=True,
        max_completion_tokens=4000,
        logit_bias={"2": -100},
    )
    iterator = iter(stream)
    for _ in range(5):
        next(iterator)
    assert running_requests() == 1
    stream.close()
    wait_until("the engine has no running request", lambda: running_requests() == 0)


class TestRejectedRequests:
    def test_unknown_model(self, client: OpenAI) -> None:
        with pytest.raises(NotFoundError) as raised:
            client.chat.completions.create(model="gpt-9", messages=CAPITAL)
        assert raised.value.code == "model_not_found"
        assert "The model `gpt-9` does not exist" in raised.value.message

    def test_no_messages(self, client: OpenAI) -> None:
        with pytest.raises(BadRequestError) as raised:
            client.chat.completions.create(model=BASE, messages=[])
        assert raised.value.param == "messages"

    def test_too_long_a_context(self, client: OpenAI) -> None:
        with pytest.raises(BadRequestError) as raised:
            client.chat.completions.create(
                model=BASE, messages=[{"role": "user", "content": "word " * 9000}]
            )
        assert raised.value.code == "context_length_exceeded"
        assert raised.value.param == "messages"
        assert "8192" in raised.value.message

    def test_an_encoder_that_is_no_classifier(self, client: OpenAI) -> None:
        with pytest.raises(BadRequestError):
            client.chat.completions.create(model="all-minilm-l6-v2", messages=CAPITAL)

    @pytest.mark.parametrize(
        ("field", "value"),
        [("temperature", 3), ("top_p", -1), ("n", 0), ("max_tokens", 0), ("top_logprobs", 21)],
    )
    def test_parameters_out_of_bounds(self, client: OpenAI, field: str, value: int) -> None:
        with pytest.raises(BadRequestError) as raised:
            client.chat.completions.create(
                model=BASE, messages=CAPITAL, extra_body={"logprobs": True, field: value}
            )
        assert raised.value.param == field
