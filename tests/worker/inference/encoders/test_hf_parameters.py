"""Hugging Face's parameters: each is used or refused by its name, wherever a client puts it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from huggingface_hub.inference._providers import get_provider_helper
from transformers import AutoModel

from app.errors import InvalidRequest
from app.wire.encoders import InferenceParameters, InferenceRequest
from tests.worker.conftest import tiny_config, tiny_tokenizer
from worker.encoding.task import EncoderTask, Method
from worker.encoding.tokenizer import EncoderTokenizer
from worker.inference.encoders import tasks
from worker.inference.encoders.engine import EncoderEngine
from worker.inference.encoders.hf_parameters import SUPPORTED_PARAMETERS, select_parameters
from worker.inference.encoders.registry import ServedEncoder
from worker.inference.encoders.tuned_encoder import TunedEncoder

TEXTS: dict[Method, Any] = {
    "question_answering": {"question": "who?", "context": "Anna."},
}
TASKS: dict[Method, str] = {
    "classification": "text-classification",
    "token_classification": "token-classification",
    "question_answering": "question-answering",
    "embedding": "feature-extraction",
}
USED: list[tuple[Method, dict[str, Any]]] = [
    ("classification", {"top_k": 2, "function_to_apply": "sigmoid"}),
    ("token_classification", {"aggregation_strategy": "none", "ignore_labels": ["B-place"]}),
    (
        "question_answering",
        {
            "top_k": 3,
            "align_to_words": False,
            "handle_impossible_answer": True,
            "max_answer_len": 5,
        },
    ),
    (
        "embedding",
        {
            "truncate": True,
            "normalize": False,
            "dimensions": 8,
            "encoding_format": "float",
            "truncation_direction": "right",
        },
    ),
]
REFUSED: list[tuple[Method, dict[str, Any]]] = [
    ("token_classification", {"stride": 5}),
    ("token_classification", {"top_k": 5}),
    ("question_answering", {"doc_stride": 5}),
    ("question_answering", {"max_question_len": 5}),
    ("question_answering", {"max_seq_len": 5}),
    ("embedding", {"prompt_name": "query"}),
]


def sent(method: Method, parameters: dict[str, Any]) -> InferenceRequest:
    """As the official client puts them into a body."""
    helper = get_provider_helper("auto", task=TASKS[method], model="http://here/models/tuned")
    body = helper.prepare_request(
        inputs=TEXTS.get(method, "a text"),
        parameters=parameters,
        headers={},
        model="http://here/models/tuned",
        api_key="key",
    ).json
    # The API reads it, and the engine what the API sends on.
    read = InferenceRequest.model_validate(body)
    return InferenceRequest.model_validate(read.model_dump(exclude_unset=True))


@pytest.mark.parametrize(("method", "parameters"), USED)
def test_what_a_task_uses_is_chosen(method: Method, parameters: dict[str, Any]) -> None:
    assert select_parameters(sent(method, parameters), method) == InferenceParameters(**parameters)
    assert parameters.keys() <= set(SUPPORTED_PARAMETERS[method])


@pytest.mark.parametrize(("method", "parameters"), REFUSED)
def test_what_a_task_would_not_use_is_refused(method: Method, parameters: dict[str, Any]) -> None:
    (name,) = parameters
    param = name if method == "embedding" else f"parameters.{name}"
    with pytest.raises(InvalidRequest, match=f"Unknown parameter: '{param}'") as refused:
        select_parameters(sent(method, parameters), method)
    assert refused.value.error_param == param
    unsaid = {"inputs": "a text", "parameters": {name: None}, "options": {"wait_for_model": True}}
    assert (
        select_parameters(InferenceRequest.model_validate(unsaid), method) == InferenceParameters()
    )


@pytest.fixture(scope="module")
def bare() -> ServedEncoder:
    """Whose head gives each text's vector, of three numbers, as the labels' logits."""
    engine = EncoderEngine(
        AutoModel.from_config(tiny_config()), EncoderTokenizer(tiny_tokenizer(), 64), causal=True
    )
    head = (torch.eye(3), torch.zeros(3))
    return ServedEncoder(
        "tuned", engine, TunedEncoder(EncoderTask(method="classification"), None, None, head)
    )


def test_scores_of_labels_are_as_they_are_asked_for(bare: ServedEncoder) -> None:
    vector = torch.tensor([1.0, 2.0, -3.0])
    for function, expected in (
        ("none", vector),
        ("sigmoid", vector.sigmoid()),
        ("softmax", vector.softmax(0)),
    ):
        (scores,) = tasks.label_scores(bare, [vector], function)
        assert scores.tolist() == pytest.approx(expected.tolist())


def test_words_of_entities_are_listed_one_by_one_or_together(bare: ServedEncoder) -> None:
    task = EncoderTask(method="token_classification", labels=("place",))
    assert bare.tuned is not None
    served = replace(bare, tuned=replace(bare.tuned, task=task))
    whole = "a b c"
    texts = served.engine.tokenizer.tokenize([whole])
    states = torch.eye(3)[[0, 0, 1, 0, 2]]

    def found(**parameters: Any) -> list[tuple[str, str]]:
        options = InferenceParameters(**parameters)
        (entities,) = tasks.tag_entities(served, [whole], texts, [states], options)
        keys = "entity", "entity_group"
        return [(one[key], one["word"]) for one in entities for key in keys if key in one]

    assert found() == found(aggregation_strategy="simple") == [("place", "b c")]
    assert found(ignore_labels=["place"]) == []
    apart = [("B-place", "b"), ("I-place", "c")]
    assert found(aggregation_strategy="none") == apart
    assert found(aggregation_strategy="none", ignore_labels=["B-place"]) == apart[1:]
