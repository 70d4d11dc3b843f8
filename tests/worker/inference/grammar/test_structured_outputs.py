"""`response_format` over HTTP, driven by the official SDK, with a model of random weights."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import pytest
from openai import BadRequestError, OpenAI
from pydantic import BaseModel, ConfigDict, Field

from tests.worker.inference.running_engine import (
    END,
    HELLO,
    TUNED_MODEL,
    EngineClient,
)

ASK_JSON: Any = [{"role": "user", "content": "answer in JSON"}]


class Order(BaseModel):
    """Bounded, so that a model of random weights ends it."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["new", "used"]
    count: int = Field(ge=0, le=999)
    code: str = Field(pattern="^[A-Z]{2}-[0-9]{3}$")
    tags: list[Literal["a", "b"]] = Field(max_length=3)
    note: Literal["é", "<|im_end|>"] | None


def schema_format(schema: Any, *, strict: bool = True) -> Any:
    wanted = {"name": "answer", "schema": schema, "strict": strict}
    return {"type": "json_schema", "json_schema": wanted}


ORDER = schema_format({**Order.model_json_schema(), "required": [*Order.model_fields]})
ONE_OF_TWO = {"type": "object", "additionalProperties": False, "required": ["a"]}
ONE_OF_TWO["properties"] = {"a": {"enum": ["first", "second"]}}


def test_any_object_is_json(client: OpenAI) -> None:
    # Strings end soon, since most tokens are ruled out.
    letters = {str(id): -100 for id in range(3, 263) if id not in LETTERS}
    answers = [
        client.chat.completions.create(
            model="tiny",
            messages=ASK_JSON,
            seed=seed,
            logit_bias=letters,
            response_format={"type": "json_object"},
            max_tokens=400,
        ).choices[0]
        for seed in range(8)
    ]
    ended = [answer for answer in answers if answer.finish_reason == "stop"]
    assert ended
    assert all(isinstance(json.loads(x.message.content or ""), dict) for x in ended)


# The tokens of `{`, `}`, `"`, `:` and `a` in a byte-level vocabulary.
LETTERS = {3 + sorted(map(chr, range(33, 127))).index(letter) for letter in '{}":a'}


def test_the_sdk_parses_each_sampled_answer(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="tiny", messages=HELLO, response_format=Order, n=4, temperature=1, seed=1
    )
    assert len({choice.message.content for choice in answer.choices}) > 1
    for choice in answer.choices:
        assert choice.finish_reason == "stop"
        assert isinstance(choice.message.parsed, Order)


def test_a_stream_is_the_same_answer(client: OpenAI) -> None:
    fields: Any = {"model": "tiny", "messages": HELLO, "temperature": 0, "response_format": ORDER}
    whole = client.chat.completions.create(**fields)
    chunks = [
        c for chunk in client.chat.completions.create(**fields, stream=True) for c in chunk.choices
    ]
    assert "".join(c.delta.content or "" for c in chunks) == whole.choices[0].message.content
    assert chunks[-1].finish_reason == whole.choices[0].finish_reason == "stop"
    Order.model_validate_json(whole.choices[0].message.content or "")


def test_a_legacy_completion_follows_it_too(client: OpenAI) -> None:
    answer = client.completions.create(
        model="tiny",
        prompt=["a", "b"],
        max_tokens=200,
        best_of=2,
        extra_body={"response_format": ORDER},
    )
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "stop"]
    for choice in answer.choices:
        Order.model_validate_json(choice.text)


def test_rows_of_a_mixed_batch_are_as_alone(client: OpenAI) -> None:
    """Free and constrained, greedy and sampled: none changes another."""
    requests: list[dict[str, Any]] = [
        {"max_tokens": 40, "logit_bias": {END: -100}},
        {"response_format": ORDER},
        {"response_format": schema_format(ONE_OF_TWO), "temperature": 1, "seed": 4},
        {"response_format": ORDER, "logit_bias": {END: 100}, "presence_penalty": 1},
    ]

    def ask(fields: dict[str, Any]) -> Any:
        fixed = {"model": "tiny", "messages": HELLO, "temperature": 0}
        answer = client.chat.completions.create(**{**fixed, **fields}).choices[0]
        return answer.message.content, answer.finish_reason

    alone = [ask(fields) for fields in requests]
    with ThreadPoolExecutor(10) as pool:
        together = list(pool.map(ask, requests * 2))
    assert together == alone * 2


def test_an_adapter_follows_it(engine: EngineClient, client: OpenAI) -> None:
    assert engine.load_adapter().status_code == 200
    answer = client.chat.completions.parse(
        model=TUNED_MODEL, messages=HELLO, response_format=Order, temperature=0
    )
    assert answer.choices[0].message.parsed is not None


class TestSampling:
    def test_no_bias_allows_what_the_schema_does_not(self, greedy: Callable[..., Any]) -> None:
        bias = {**{str(id): 100 for id in range(3, 100)}, END: 100}
        answer = greedy(logit_bias=bias, response_format=schema_format(ONE_OF_TWO))
        assert json.loads(answer.choices[0].message.content)["a"] in ("first", "second")

    def test_the_end_may_be_ruled_out(self, greedy: Callable[..., Any]) -> None:
        answer = greedy(
            logit_bias={END: -100}, response_format=schema_format(ONE_OF_TWO), max_tokens=100
        )
        assert answer.choices[0].finish_reason == "stop"

    def test_max_tokens_cut_it(self, greedy: Callable[..., Any]) -> None:
        answer = greedy(max_tokens=3, response_format=schema_format(ONE_OF_TWO))
        assert answer.choices[0].finish_reason == "length"
        assert answer.choices[0].message.content.startswith("{")

    def test_a_stop_string_ends_it(self, greedy: Callable[..., Any]) -> None:
        answer = greedy(stop=":", max_tokens=50, response_format=schema_format(ONE_OF_TWO))
        assert answer.choices[0].finish_reason == "stop"
        assert answer.choices[0].message.content.split() in (['{"a"'], ["{", '"a"'])

    def test_log_probabilities_are_the_models_own(self, greedy: Callable[..., Any]) -> None:
        """They are computed before the grammar rules tokens out."""
        fields = {"logprobs": True, "top_logprobs": 1, "max_tokens": 1}
        free = greedy(**fields).choices[0].logprobs.content[0]
        bound = greedy(**fields, response_format=ORDER).choices[0].logprobs.content[0]
        assert bound.token.startswith("{")
        assert bound.top_logprobs[0] == free.top_logprobs[0]
        assert bound.logprob < free.logprob

    def test_penalties_do_not_break_it(self, client: OpenAI) -> None:
        answer = client.chat.completions.parse(
            model="tiny",
            messages=HELLO,
            response_format=Order,
            n=3,
            seed=1,
            frequency_penalty=2,
            presence_penalty=-2,
            top_p=0.3,
        )
        assert all(choice.message.parsed for choice in answer.choices)


class TestRefused:
    def reject(self, client: OpenAI, response_format: Any, messages: Any = HELLO) -> Any:
        with pytest.raises(BadRequestError) as raised:
            client.chat.completions.create(
                model="tiny", messages=messages, response_format=response_format
            )
        return raised.value

    def test_strict_mode_speaks_as_openai_does(self, client: OpenAI) -> None:
        error = self.reject(client, schema_format({"type": "object", "properties": {}}))
        assert (error.type, error.param, error.code) == (
            "invalid_request_error",
            "response_format",
            None,
        )
        assert error.body["message"] == (
            "Invalid schema for response_format 'answer': In context=(), 'additionalProperties' is "
            "required to be supplied and to be false."
        )

    @pytest.mark.parametrize(
        ("schema", "word"),
        [
            ({"type": "thing"}, "thing"),
            ({"$ref": "#/$defs/nowhere"}, "nowhere"),
            ({"$ref": "#"}, "no text can fulfil it"),
            ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum"),
            ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ],
    )
    def test_what_no_grammar_can_be_made_of(self, client: OpenAI, schema: Any, word: str) -> None:
        error = self.reject(client, schema_format(schema, strict=False))
        assert error.param == "response_format"
        assert word in error.body["message"]

    def test_any_json_must_be_asked_for(self, client: OpenAI) -> None:
        error = self.reject(client, {"type": "json_object"})
        assert error.param == "messages"
        assert error.body["message"] == (
            "'messages' must contain the word 'json' in some form, to use 'response_format' of "
            "type 'json_object'."
        )

    @pytest.mark.parametrize(
        ("name", "param"), [("a b", "name"), ("x" * 65, "name"), (None, "name")]
    )
    def test_the_name_has_openais_form(self, client: OpenAI, name: Any, param: str) -> None:
        wanted: Any = {"type": "json_schema", "json_schema": {"name": name, "schema": {}}}
        error = self.reject(client, wanted)
        assert error.param == f"response_format.json_schema.{param}"
