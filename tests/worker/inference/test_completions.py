"""/v1/completions and /v1/embeddings of causal models, compared with transformers."""

import base64
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from openai import BadRequestError, OpenAI
from openai.types import Completion
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from app.catalog import CatalogModel
from tests.worker.inference.running_engine import (
    PREFIX,
    TUNED_MODEL,
    EngineClient,
    catalog_entry,
    running_engine,
    store_adapter,
)
from tests.worker.inference.tiny_model import load_tiny

PROMPT = "a quick fox"
CONTEXT = 64
# Tolerance: the engine computes in bfloat16 if the CPU can; the reference is in float32.
BFLOAT16 = 0.1


@pytest.fixture(scope="module")
def engine(
    base_folder: Path, base_model: CatalogModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineClient]:
    home = tmp_path_factory.mktemp("engine")
    store_adapter(home, base_folder, lora_alpha=64, target_modules="all-linear")
    with running_engine(home, catalog_entry(base_model, context_length=CONTEXT)) as served:
        assert served.load_adapter(path=PREFIX).status_code == 200
        yield served


@pytest.fixture
def client(engine: EngineClient) -> OpenAI:
    """A client without strict validation, which rejects the base64 that the SDK itself requests and
    the null log-probability of a prompt's first token."""
    return OpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0)


@pytest.fixture
def ask(client: OpenAI) -> Callable[..., Any]:
    def complete(**changes: Any) -> Any:
        fields = {"model": "tiny", "prompt": PROMPT, "temperature": 0, "logit_bias": {"2": -100}}
        return client.completions.create(**{**fields, **changes})

    return complete


@pytest.fixture
def log_probabilities(base_folder: Path) -> Callable[[list[int]], torch.Tensor]:
    """Log-probabilities [tokens, vocabulary] after each token, by transformers."""
    model = load_tiny(base_folder)

    def compute(ids: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            return torch.log_softmax(model(torch.tensor([ids])).logits[0], dim=-1)

    return compute


class TestCompletions:
    def test_the_default_is_sixteen_tokens(self, ask: Callable[..., Any]) -> None:
        response = ask()
        (choice,) = response.choices
        assert (response.object, response.usage.completion_tokens) == ("text_completion", 16)
        assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "length", None)
        assert PROMPT not in choice.text
        assert ask(max_tokens=3, echo=True).choices[0].text.startswith(PROMPT)

    def test_token_ids_and_their_text_are_the_same_prompt(
        self, ask: Callable[..., Any], tokenizer: PreTrainedTokenizerFast
    ) -> None:
        ids = tokenizer(PROMPT).input_ids
        texts = [choice.text for choice in ask(prompt=[PROMPT, "b"]).choices]
        by_ids = ask(prompt=[ids, tokenizer("b").input_ids])
        assert [choice.text for choice in by_ids.choices] == texts
        assert ask(prompt=ids).choices[0].text == texts[0]
        assert [choice.index for choice in by_ids.choices] == [0, 1]
        assert by_ids.usage.prompt_tokens == len(ids) + 1

    def test_an_empty_prompt_starts_a_text(self, client: OpenAI, ask: Callable[..., Any]) -> None:
        beginning = ask(prompt="", max_tokens=4)
        assert beginning.usage.prompt_tokens == 1
        assert ask(prompt=None, max_tokens=4).choices == beginning.choices
        left_out = {"model": "tiny", "temperature": 0, "max_tokens": 4, "logit_bias": {"2": -100}}
        response = client.post("/completions", body=left_out, cast_to=Completion)
        assert response.choices == beginning.choices

    def test_echo_with_logprobs_scores_the_prompt(
        self,
        ask: Callable[..., Any],
        log_probabilities: Callable[[list[int]], torch.Tensor],
        tokenizer: PreTrainedTokenizerFast,
    ) -> None:
        ids = tokenizer(PROMPT).input_ids
        choice = ask(prompt=ids, echo=True, logprobs=2, max_tokens=0).choices[0]
        assert (choice.text, choice.finish_reason) == (PROMPT, "length")
        logprobs = choice.logprobs
        assert "".join(logprobs.tokens) == PROMPT
        assert logprobs.token_logprobs[0] is None
        assert logprobs.top_logprobs[0] is None
        reference = log_probabilities(ids)
        expected = [float(reference[at, id]) for at, id in enumerate(ids[1:])]
        assert logprobs.token_logprobs[1:] == pytest.approx(expected, abs=BFLOAT16)
        for row, top in zip(reference[:-1], logprobs.top_logprobs[1:], strict=True):
            assert max(top.values()) == pytest.approx(float(row.max()), abs=BFLOAT16)
        lengths = [len(token) for token in logprobs.tokens]
        assert logprobs.text_offset == [sum(lengths[:at]) for at in range(len(lengths))]

    def test_echo_and_completion_share_one_table(self, ask: Callable[..., Any]) -> None:
        plain = ask(max_tokens=4, logprobs=0).choices[0]
        echoed = ask(max_tokens=4, logprobs=0, echo=True).choices[0]
        assert echoed.text == PROMPT + plain.text
        assert echoed.logprobs.tokens[-4:] == plain.logprobs.tokens
        assert echoed.logprobs.text_offset[-4:] == plain.logprobs.text_offset
        assert plain.logprobs.text_offset[0] == len(PROMPT)
        assert plain.logprobs.top_logprobs is None

    def test_best_of_returns_the_highest_mean_logprob(self, ask: Callable[..., Any]) -> None:
        def mean(choice: Any) -> float:
            values = choice.logprobs.token_logprobs
            return float(sum(values) / len(values))

        fields = {"temperature": 1, "seed": 3, "logprobs": 1, "max_tokens": 6}
        all_choices = ask(n=5, **fields)
        best = ask(best_of=5, n=2, **fields)
        ranked = sorted(all_choices.choices, key=mean, reverse=True)
        assert [choice.text for choice in best.choices] == [choice.text for choice in ranked[:2]]
        assert [choice.index for choice in best.choices] == [0, 1]
        assert best.usage.completion_tokens == 30

    # Some of these end inside a character.
    @pytest.mark.parametrize("seed", range(6))
    def test_a_stream_equals_the_whole_response(self, ask: Callable[..., Any], seed: int) -> None:
        fields = {"prompt": [PROMPT, "b"], "n": 2, "echo": True, "logprobs": 1, "seed": seed}
        fields |= {"temperature": 1, "max_tokens": 5}
        whole = ask(**fields)
        events = list(ask(**fields, stream=True, stream_options={"include_usage": True}))
        assert events[-1].usage == whole.usage
        for choice in whole.choices:
            chunks = [e.choices[0] for e in events[:-1] if e.choices[0].index == choice.index]
            assert "".join(chunk.text for chunk in chunks) == choice.text
            tokens = [token for chunk in chunks for token in chunk.logprobs.tokens]
            assert tokens == choice.logprobs.tokens
            offsets = [offset for chunk in chunks for offset in chunk.logprobs.text_offset]
            assert offsets == choice.logprobs.text_offset
            assert chunks[-1].finish_reason == choice.finish_reason

    def test_an_adapter_changes_the_completion(self, ask: Callable[..., Any]) -> None:
        assert ask(model=TUNED_MODEL).choices[0].text != ask().choices[0].text

    def test_an_empty_prompt_can_be_echoed(self, ask: Callable[..., Any]) -> None:
        response = ask(prompt="", max_tokens=2, echo=True, logprobs=1)
        assert response.usage.completion_tokens == 2
        assert len(response.choices[0].logprobs.tokens) == 2

    @pytest.mark.parametrize(
        ("fields", "param", "message"),
        [
            ({"prompt": [99999]}, "prompt", "has no token 99999"),
            ({"prompt": [-1]}, "prompt", "has no token -1"),
            ({"prompt": [[1], "a", [True]]}, "prompt", "a list of token ids"),
            ({"prompt": "a" * 60, "max_tokens": 10}, "prompt", "70 tokens .60 in your prompt; 10"),
            ({"suffix": "the end"}, "suffix", "cannot insert"),
            ({"best_of": 2, "n": 3}, "best_of", "at least 'n'"),
            ({"best_of": 2, "stream": True}, "best_of", "cannot be greater than 'n' in a stream"),
            ({"logprobs": 6}, "logprobs", "less than or equal to 5"),
            ({"prompt": ["a"] * 129}, "prompt", "at most 128"),
            ({"max_tokens": -1}, "max_tokens", "greater than or equal to 0"),
        ],
    )
    def test_invalid_requests_are_rejected(
        self, ask: Callable[..., Any], fields: dict[str, Any], param: str, message: str
    ) -> None:
        with pytest.raises(BadRequestError, match=message) as raised:
            ask(**fields)
        assert raised.value.param == param


class TestEmbeddings:
    @pytest.fixture
    def mean(self, tiny: PreTrainedModel) -> Callable[[list[int]], np.ndarray[Any, Any]]:
        def compute(ids: list[int]) -> np.ndarray[Any, Any]:
            with torch.inference_mode():
                states = tiny(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
            vector = states.mean(dim=0).numpy()
            return np.asarray(vector / np.linalg.norm(vector))

        return compute

    def test_embeddings_are_the_mean_of_the_final_hidden_states(
        self,
        client: OpenAI,
        mean: Callable[[list[int]], np.ndarray[Any, Any]],
        tokenizer: PreTrainedTokenizerFast,
    ) -> None:
        ids = [tokenizer(text).input_ids for text in (PROMPT, "b")]
        response = client.embeddings.create(model="tiny", input=[PROMPT, "b"])
        for item, expected in zip(response.data, ids, strict=True):
            assert float(np.dot(item.embedding, mean(expected))) > 1 - BFLOAT16
        assert response.usage.prompt_tokens == sum(map(len, ids))
        by_ids = client.embeddings.create(model="tiny", input=ids)
        assert [item.embedding for item in by_ids.data] == [
            item.embedding for item in response.data
        ]
        tuned = client.embeddings.create(model=TUNED_MODEL, input=PROMPT)
        assert tuned.data[0].embedding != response.data[0].embedding

    def test_truncated_embeddings_are_normalized(self, client: OpenAI) -> None:
        short = client.embeddings.create(model="tiny", input=PROMPT, dimensions=4).data[0].embedding
        assert math.isclose(float(np.linalg.norm(short)), 1, rel_tol=1e-5)
        with pytest.raises(BadRequestError, match="have 32 dimensions"):
            client.embeddings.create(model="tiny", input=PROMPT, dimensions=33)

    def test_base64_and_float_encodings_agree(self, engine: EngineClient) -> None:
        def embedding(**fields: Any) -> Any:
            body = {"model": "tiny", "input": PROMPT, **fields}
            return engine.http("POST", "/v1/embeddings", json=body).json()["data"][0]["embedding"]

        decoded = np.frombuffer(base64.b64decode(embedding(encoding_format="base64")), "<f4")
        np.testing.assert_allclose(decoded, embedding(), rtol=1e-6)

    def test_a_request_may_exceed_the_engine_queue(self, client: OpenAI) -> None:
        response = client.embeddings.create(model="tiny", input=["ab"] * 300)
        assert len({tuple(item.embedding) for item in response.data}) == 1
        assert len(response.data) == 300

    def test_a_too_long_text_is_rejected_or_truncated(
        self, engine: EngineClient, client: OpenAI
    ) -> None:
        with pytest.raises(BadRequestError, match="at most 64 tokens") as raised:
            client.embeddings.create(model="tiny", input=["b", "b" * 65])
        assert raised.value.code == "context_length_exceeded"
        body = {"model": "tiny", "input": "b" * 65, "truncate_prompt_tokens": -1}
        cut = engine.http("POST", "/v1/embeddings", json=body).json()
        assert cut["usage"]["prompt_tokens"] == 64

    def test_far_too_long_texts_are_rejected_before_tokenization(
        self, ask: Callable[..., Any], client: OpenAI
    ) -> None:
        with pytest.raises(BadRequestError, match=r"at most 64 tokens, and input.1. is longer"):
            client.embeddings.create(model="tiny", input=["b", "b" * 900_000])
        with pytest.raises(BadRequestError, match=r"requested at least [0-9]+ tokens") as raised:
            ask(prompt="b" * 900_000)
        assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "prompt")
        with pytest.raises(BadRequestError, match="requested 1016 tokens"):
            ask(prompt=[5] * 1000)

    @pytest.mark.parametrize("input", ["", [], [""], [[]], [1, "a"], [300], {"a": 1}])
    def test_invalid_inputs_are_rejected(self, client: OpenAI, input: Any) -> None:
        with pytest.raises(BadRequestError) as raised:
            client.embeddings.create(model="tiny", input=input)
        assert raised.value.param == "input"
