"""Hugging Face parameters are used or rejected by name, wherever a client puts them."""

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
from worker.inference.encoders.served_encoder import ServedEncoder
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


def parse_request(method: Method, parameters: dict[str, Any]) -> InferenceRequest:
    """Build the request as the official client does."""
    helper = get_provider_helper("auto", task=TASKS[method], model="http://here/models/tuned")
    body = helper.prepare_request(
        inputs=TEXTS.get(method, "a text"),
        parameters=parameters,
        headers={},
        model="http://here/models/tuned",
        api_key="key",
    ).json
    # Parsed by the API, then by the engine from the forwarded body.
    parsed = InferenceRequest.model_validate(body)
    return InferenceRequest.model_validate(parsed.model_dump(exclude_unset=True))


@pytest.mark.parametrize(("method", "parameters"), USED)
def test_supported_parameters_are_selected(method: Method, parameters: dict[str, Any]) -> None:
    assert select_parameters(parse_request(method, parameters), method) == InferenceParameters(
        **parameters
    )
    assert parameters.keys() <= set(SUPPORTED_PARAMETERS[method])


@pytest.mark.parametrize(("method", "parameters"), REFUSED)
def test_unsupported_parameters_are_rejected(method: Method, parameters: dict[str, Any]) -> None:
    (name,) = parameters
    param = name if method == "embedding" else f"parameters.{name}"
    with pytest.raises(InvalidRequest, match=f"Unknown parameter: '{param}'") as raised:
        select_parameters(parse_request(method, parameters), method)
    assert raised.value.error_param == param
    unset = {"inputs": "a text", "parameters": {name: None}, "options": {"wait_for_model": True}}
    assert (
        select_parameters(InferenceRequest.model_validate(unset), method) == InferenceParameters()
    )


@pytest.fixture(scope="module")
def classifier() -> ServedEncoder:
    """A classifier whose head returns each text's vector, of size 3, as logits."""
    engine = EncoderEngine(
        AutoModel.from_config(tiny_config()), EncoderTokenizer(tiny_tokenizer(), 64), pooling="last"
    )
    head = (torch.eye(3), torch.zeros(3))
    return ServedEncoder(
        "tuned", engine, TunedEncoder(EncoderTask(method="classification"), None, None, head)
    )


def test_label_scores_apply_the_requested_function(classifier: ServedEncoder) -> None:
    vector = torch.tensor([1.0, 2.0, -3.0])
    for function, expected in (
        ("none", vector),
        ("sigmoid", vector.sigmoid()),
        ("softmax", vector.softmax(0)),
    ):
        (scores,) = tasks.label_scores(classifier, [vector], function)
        assert scores.tolist() == pytest.approx(expected.tolist())


def test_entities_are_aggregated_or_listed_by_word(classifier: ServedEncoder) -> None:
    task = EncoderTask(method="token_classification", labels=("place",))
    assert classifier.tuned is not None
    served = replace(classifier, tuned=replace(classifier.tuned, task=task))
    raw_text = "a b c"
    texts = served.engine.tokenizer.tokenize([raw_text])
    hidden = torch.eye(3)[[0, 0, 1, 0, 2]]

    def entities_of(**parameters: Any) -> list[tuple[str, str]]:
        options = InferenceParameters(**parameters)
        (entities,) = tasks.tag_entities(served, [raw_text], texts, [hidden], options)
        keys = "entity", "entity_group"
        return [(one[key], one["word"]) for one in entities for key in keys if key in one]

    assert entities_of() == entities_of(aggregation_strategy="simple") == [("place", "b c")]
    assert entities_of(ignore_labels=["place"]) == []
    by_word = [("B-place", "b"), ("I-place", "c")]
    assert entities_of(aggregation_strategy="none") == by_word
    assert entities_of(aggregation_strategy="none", ignore_labels=["B-place"]) == by_word[1:]
