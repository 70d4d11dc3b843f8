"""Encoders on the live stack: jobs of all four methods, and official clients for the results."""

import base64
import json
import re
import struct
from typing import Any

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from openai import BadRequestError, OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import BASE as CHAT_BASE
from tests.contract.running_stack import Stack, wait_for_job

pytestmark = pytest.mark.live

BASE = "all-minilm-l6-v2"
DESKS = {
    "shipping": ("My parcel is late", "Where is my package", "The courier lost my box"),
    "billing": ("You charged me twice", "I need an invoice", "My card was billed wrongly"),
    "account": ("I cannot log in", "Reset my password", "Change my e-mail address"),
}
ENDINGS = ("", "!", " please", " since Monday")
LABELLED = [
    {"text": text + ending, "label": desk}
    for desk, texts in DESKS.items()
    for text in texts
    for ending in ENDINGS
]
NAMES = ("Anna", "Boris", "Clara", "David", "Emma", "Felix")
CITIES = ("Paris", "Rome", "Oslo", "Lima")
TAGGED = [
    {"tokens": [name, "lives", "in", city, "."], "tags": ["B-person", "O", "O", "B-place", "O"]}
    for name in NAMES
    for city in CITIES
]
QUESTIONS = [
    {
        "context": f"{name} lives in {city}.",
        "question": f"Where does {name} live?",
        "answers": {"text": [city], "answer_start": [len(f"{name} lives in ")]},
    }
    for name in NAMES
    for city in CITIES
]
PAIRS = [
    {"anchor": f"{name} in {city}", "positive": f"{city}: {name}"}
    for name in NAMES
    for city in CITIES
]
SCORED = [
    {"sentence1": first, "sentence2": second, "score": score}
    for score, pairs in enumerate(
        (zip(NAMES, reversed(NAMES), strict=True), zip(NAMES, NAMES, strict=True))
    )
    for first, second in pairs
]


def upload(client: OpenAI, rows: list[dict[str, Any]]) -> str:
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    return client.files.create(file=("rows.jsonl", lines), purpose="fine-tune").id


def create_job(
    client: OpenAI, method: str, rows: list[dict[str, Any]], **more: Any
) -> FineTuningJob:
    # So few rows are learned in so few steps only with a high learning rate.
    multiplier = 3.0 if method == "token_classification" else 1.5
    hyperparameters = {"n_epochs": 6, "batch_size": 8, "learning_rate_multiplier": multiplier}
    block: Any = {"type": method, method: {"hyperparameters": {**hyperparameters, **more}}}
    return client.fine_tuning.jobs.create(
        model=BASE,
        training_file=upload(client, rows[1:]),
        validation_file=upload(client, rows[::4]),
        seed=1,
        method=block,
    )


@pytest.fixture(scope="module")
def jobs(lenient_client: OpenAI) -> dict[str, FineTuningJob]:
    """One job of each method, and one of scored pairs, all succeeded."""
    rows = {
        "classification": LABELLED,
        "token_classification": TAGGED,
        "question_answering": QUESTIONS,
        "embedding": PAIRS,
    }
    created = {
        method: create_job(lenient_client, method, examples) for method, examples in rows.items()
    }
    created["scored"] = create_job(lenient_client, "embedding", SCORED, n_epochs=1)
    done = {method: wait_for_job(lenient_client, job.id) for method, job in created.items()}
    assert {
        m: (job.status, job.error) for m, job in done.items() if job.status != "succeeded"
    } == {}
    return done


def model_name(job: FineTuningJob) -> str:
    assert job.fine_tuned_model is not None
    return job.fine_tuned_model


@pytest.fixture(scope="module")
def hf_client(stack: Stack) -> InferenceClient:
    return InferenceClient(token=stack.key, timeout=120)


def test_a_job_reports_the_metrics_of_its_task(
    lenient_client: OpenAI, jobs: dict[str, FineTuningJob]
) -> None:
    job = jobs["classification"]
    events = lenient_client.fine_tuning.jobs.list_events(job.id, limit=100)
    metrics = [event.data for event in events if event.data and "valid_f1_macro" in event.data]
    assert len(metrics) == 6, "one for each epoch"
    checkpoint = lenient_client.fine_tuning.jobs.checkpoints.list(job.id).data[0]
    assert (checkpoint.metrics.model_extra or {})["valid_accuracy"] > 0.5
    csv, evaluation = (
        base64.b64decode(lenient_client.files.content(id_).content) for id_ in job.result_files
    )
    assert "valid_accuracy" in csv.decode().splitlines()[0]
    report = json.loads(evaluation)
    assert report["accuracy"] > 0.5
    assert set(report["per_label"]) == set(DESKS)
    assert report["confusion_matrix"]["labels"] == sorted(DESKS)


def test_classify_responds_in_vllms_format(
    lenient_client: OpenAI, stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    body = {
        "model": model_name(jobs["classification"]),
        "input": ["My parcel is late", "Reset my password"],
    }
    with stack.http() as http:
        response = http.post("/v1/classify", json=body).json()
    assert [item["label"] for item in response["data"]] == ["shipping", "account"]
    assert response["labels"] == sorted(DESKS)
    assert sum(response["data"][0]["probs"]) == pytest.approx(1, abs=1e-3)
    assert response["data"][0]["num_classes"] == 3


def test_a_classifier_supports_chat_completions(
    lenient_client: OpenAI, jobs: dict[str, FineTuningJob]
) -> None:
    answer = lenient_client.chat.completions.create(
        model=model_name(jobs["classification"]),
        messages=[{"role": "user", "content": "My parcel is late"}],
        logprobs=True,
        top_logprobs=3,
    )
    (choice,) = answer.choices
    assert choice.message.content == "shipping"
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert {top.token for top in choice.logprobs.content[0].top_logprobs} == set(DESKS)
    stream = lenient_client.chat.completions.create(
        model=model_name(jobs["classification"]),
        messages=[{"role": "user", "content": "My parcel is late"}],
        stream=True,
    )
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == "shipping"


def test_the_hugging_face_client_runs_every_task(
    hf_client: InferenceClient, stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    urls = {method: f"{stack.url}/models/{model_name(job)}" for method, job in jobs.items()}
    classes = hf_client.text_classification("Reset my password", model=urls["classification"])
    assert classes[0].label == "account"
    entities = hf_client.token_classification(
        "Emma lives in Oslo.", model=urls["token_classification"]
    )
    assert [(entity.word, entity.entity_group) for entity in entities] == [
        ("Emma", "person"),
        ("Oslo", "place"),
    ]
    with stack.http() as http:
        path = f"/models/{model_name(jobs['token_classification'])}"
        listed = http.post(path, json={"inputs": ["Emma lives in Oslo."]}).json()
    assert [entity["word"] for entity in listed[0]] == ["Emma", "Oslo"], (
        "a list of inputs yields a list of results"
    )
    answer = hf_client.question_answering(
        question="Where does Anna live?",
        context="Anna lives in Rome.",
        model=urls["question_answering"],
    )
    assert (answer.answer, answer.start, answer.end) == ("Rome", 14, 18)
    vector = hf_client.feature_extraction("Emma in Oslo", model=urls["embedding"])
    assert vector.shape == (1, 384)


def test_the_hugging_face_client_can_set_parameters(
    hf_client: InferenceClient, stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    urls = {method: f"{stack.url}/models/{model_name(job)}" for method, job in jobs.items()}
    long = "Emma in Oslo " * 400
    with pytest.raises(HfHubHTTPError, match="inputs is longer"):
        hf_client.feature_extraction(long, model=urls["embedding"])
    vector = hf_client.feature_extraction(
        long, truncate=True, normalize=False, dimensions=8, model=urls["embedding"]
    )
    assert vector.shape == (1, 8)
    with pytest.raises(HfHubHTTPError, match="Unknown parameter: 'prompt_name'"):
        hf_client.feature_extraction("Emma", prompt_name="query", model=urls["embedding"])
    logits = hf_client.text_classification(
        "Reset my password", function_to_apply="none", top_k=2, model=urls["classification"]
    )
    assert [logits[0].label, len(logits)] == ["account", 2]
    entities = hf_client.token_classification(
        "Emma lives in Oslo.", aggregation_strategy="none", model=urls["token_classification"]
    )
    assert [(entity.word, entity.entity) for entity in entities] == [
        ("Emma", "B-person"),
        ("Oslo", "B-place"),
    ]
    inputs = {"question": "Where does Anna live?", "context": "Anna lives in Rome."}
    model = urls["question_answering"]
    answers: Any = hf_client.question_answering(**inputs, top_k=2, model=model)
    assert [answers[0].answer, len(answers)] == ["Rome", 2]
    with pytest.raises(HfHubHTTPError, match=r"parameters\.doc_stride"):
        hf_client.question_answering(**inputs, doc_stride=5, model=model)


def test_scored_pairs_are_evaluated_by_rank_correlation(
    lenient_client: OpenAI, stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    job = jobs["scored"]
    (checkpoint,) = lenient_client.fine_tuning.jobs.checkpoints.list(job.id).data
    spearman = (checkpoint.metrics.model_extra or {})["valid_spearman"]
    assert -1 <= spearman <= 1
    _, evaluation = (
        base64.b64decode(lenient_client.files.content(id_).content) for id_ in job.result_files
    )
    report = json.loads(evaluation)
    assert report["spearman"] == pytest.approx(spearman, abs=1e-4)
    assert "pearson" in report
    one, same, other = (
        item.embedding
        for item in lenient_client.embeddings.create(
            model=model_name(job), input=["Anna", "Anna", "Felix"]
        ).data
    )
    assert _cosine(one, same) > _cosine(one, other)


def _cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_embeddings_are_equal_in_both_encodings(
    lenient_client: OpenAI, jobs: dict[str, FineTuningJob]
) -> None:
    for model in (BASE, model_name(jobs["embedding"])):
        # The SDK requests base64 by default, and decodes it.
        decoded = lenient_client.embeddings.create(model=model, input=["a text"]).data[0].embedding
        plain = lenient_client.embeddings.create(
            model=model, input="a text", encoding_format="float"
        )
        assert decoded == pytest.approx(plain.data[0].embedding, abs=1e-6)
        assert sum(number**2 for number in decoded) == pytest.approx(1, abs=1e-3)
        assert struct.calcsize("<f") * 384 == 4 * len(decoded)


def test_too_long_a_text_is_truncated_only_on_request(
    lenient_client: OpenAI, stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    body = {"model": model_name(jobs["classification"]), "input": "late parcel " * 400}
    with stack.http() as http:
        rejected = http.post("/v1/classify", json=body)
        truncated = http.post("/v1/classify", json={**body, "truncate_prompt_tokens": -1})
    assert rejected.status_code == 400
    assert rejected.json()["error"]["code"] == "context_length_exceeded"
    assert truncated.status_code == 200
    with pytest.raises(BadRequestError, match="messages is longer"):
        lenient_client.chat.completions.create(
            model=body["model"], messages=[{"role": "user", "content": body["input"]}]
        )


def test_too_long_a_question_is_truncated_only_on_request_and_contexts_may_be_long(
    stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    path = f"/models/{model_name(jobs['question_answering'])}"
    long = {"question": "Where does Anna live? " * 60, "context": "Anna lives in Rome."}
    short = {"question": "Where does Anna live?", "context": "Anna lives in Rome. " * 200}
    with stack.http() as http:
        rejected = http.post(path, json={"inputs": long})
        truncated = http.post(path, json={"inputs": long, "parameters": {"truncate": True}})
        windows = http.post(path, json={"inputs": short})
    assert rejected.status_code == 400
    assert rejected.json()["error"]["param"] == "inputs.question"
    assert truncated.status_code == 200, truncated.text
    assert windows.json()["answer"] in short["context"]


def test_unsupported_tasks_of_a_model_are_rejected(
    lenient_client: OpenAI, stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    with pytest.raises(BadRequestError, match="needs one for embedding"):
        lenient_client.embeddings.create(model=model_name(jobs["classification"]), input="a text")
    with pytest.raises(BadRequestError, match="is an encoder"):
        lenient_client.completions.create(model=BASE, prompt="Hello")
    with pytest.raises(BadRequestError, match="is an encoder"):
        lenient_client.chat.completions.create(
            model=BASE, messages=[{"role": "user", "content": "Hello"}]
        )
    with pytest.raises(BadRequestError, match="Method 'supervised' is not available"):
        lenient_client.fine_tuning.jobs.create(
            model=BASE, training_file=upload(lenient_client, LABELLED)
        )


@pytest.mark.parametrize(
    ("rows", "validation_rows", "reason"),
    [
        (LABELLED[:12], None, "only the label 'shipping'"),
        (
            [*LABELLED, {"text": "odd", "label": "once"}],
            None,
            "'once' occurs only once, in line 37",
        ),
        (LABELLED, [{"text": "odd", "label": "new"}], "'new' .line 1. is not in the training file"),
        (TAGGED, None, "needs examples in the classification format"),
    ],
)
def test_unusable_labels_fail_a_job(
    lenient_client: OpenAI,
    rows: list[dict[str, Any]],
    validation_rows: list[dict[str, Any]] | None,
    reason: str,
) -> None:
    block: Any = {"type": "classification"}
    job = lenient_client.fine_tuning.jobs.create(
        model=BASE,
        training_file=upload(lenient_client, rows),
        validation_file=upload(lenient_client, validation_rows) if validation_rows else None,
        method=block,
    )
    failed = wait_for_job(lenient_client, job.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert re.search(reason, failed.error.message)


def test_a_causal_model_can_become_a_classifier(
    lenient_client: OpenAI, hf_client: InferenceClient, stack: Stack
) -> None:
    block: Any = {
        "type": "classification",
        "classification": {"hyperparameters": {"n_epochs": 2, "batch_size": 8}},
    }
    created = lenient_client.fine_tuning.jobs.create(
        model=CHAT_BASE, training_file=upload(lenient_client, LABELLED), seed=1, method=block
    )
    job = wait_for_job(lenient_client, created.id)
    assert job.status == "succeeded", job.error
    with stack.http() as http:
        body = {"model": model_name(job), "input": ["My parcel is late", "Reset my password"]}
        response = http.post("/v1/classify", json=body)
    assert response.status_code == 200, response.text
    assert [item["label"] for item in response.json()["data"]] == ["shipping", "account"]
    classes = hf_client.text_classification(
        "Reset my password", model=f"{stack.url}/models/{model_name(job)}"
    )
    assert classes[0].label == "account"
    messages: Any = [{"role": "user", "content": "You charged me twice"}]
    chat = lenient_client.chat.completions.create(model=model_name(job), messages=messages)
    assert chat.choices[0].message.content == "billing"
    with pytest.raises(BadRequestError, match="does not generate text"):
        lenient_client.completions.create(model=model_name(job), prompt="Once")


def test_a_text_generator_does_not_classify(stack: Stack, succeeded_job: FineTuningJob) -> None:
    with stack.http() as http:
        for model in (CHAT_BASE, model_name(succeeded_job)):
            response = http.post("/v1/classify", json={"model": model, "input": "a text"})
            assert response.status_code == 400
            assert "is not an encoder" in response.json()["error"]["message"]


def test_traffic_is_monitored_and_feedback_counted(
    lenient_client: OpenAI, hf_client: InferenceClient, stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    """With a checkpoint that no other test uses."""
    job = jobs["classification"]
    checkpoint = lenient_client.fine_tuning.jobs.checkpoints.list(job.id).data[-1]
    model = checkpoint.fine_tuned_model_checkpoint
    with stack.http() as http:
        body = {"model": model, "input": [row["text"] for row in LABELLED] * 3}
        raw = http.post("/v1/classify", json={**body, "input": body["input"][:60]})
        http.post("/v1/classify", json={**body, "input": body["input"][60:]})
        messages: Any = [{"role": "user", "content": "Zyzzyva quokkas yodel fjords"}]
        chat = lenient_client.chat.completions.create(model=model, messages=messages)
        hf_client.text_classification("My parcel is late", model=f"{stack.url}/models/{model}")
        feedback = [
            {"id": raw.json()["id"], "index": 0, "label": LABELLED[0]["label"]},
            {"id": raw.headers["x-request-id"], "index": 59, "label": LABELLED[59 % 36]["label"]},
            {"id": chat.id, "label": "billing"},
        ]
        accepted = http.post(f"/v1/models/{model}/feedback", json={"feedback": feedback})
        assert accepted.status_code == 200, accepted.text
        report = http.get(f"/v1/models/{model}/monitoring").json()
    assert accepted.json()["changed"] == 3
    assert report["requests"]["succeeded"] == 4
    assert report["texts"] == 36 * 3 + 2
    assert {entry["label"] for entry in report["labels"]["data"]} == set(DESKS)
    assert report["input_length"]["drift"]["state"] == "stable", (
        "the texts are those of the training file"
    )
    assert report["unknown_tokens"]["live"]["counts"][-1] == 1, "the nonsense words"
    assert report["feedback"]["texts"] == 3
