"""Encoders on the live stack: jobs of all four methods, and official clients of the results."""

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


def create(client: OpenAI, method: str, rows: list[dict[str, Any]], **more: Any) -> FineTuningJob:
    # So few rows are learned in so few steps only by large ones.
    multiplier = 3.0 if method == "token_classification" else 1.5
    numbers = {"n_epochs": 6, "batch_size": 8, "learning_rate_multiplier": multiplier}
    block: Any = {"type": method, method: {"hyperparameters": {**numbers, **more}}}
    return client.fine_tuning.jobs.create(
        model=BASE,
        training_file=upload(client, rows[1:]),
        validation_file=upload(client, rows[::4]),
        seed=1,
        method=block,
    )


@pytest.fixture(scope="module")
def jobs(loose: OpenAI) -> dict[str, FineTuningJob]:
    """One job of each method, and one of scored pairs, all succeeded."""
    rows = {
        "classification": LABELLED,
        "token_classification": TAGGED,
        "question_answering": QUESTIONS,
        "embedding": PAIRS,
    }
    made = {method: create(loose, method, examples) for method, examples in rows.items()}
    made["scored"] = create(loose, "embedding", SCORED, n_epochs=1)
    done = {method: wait_for_job(loose, job.id) for method, job in made.items()}
    assert {
        m: (job.status, job.error) for m, job in done.items() if job.status != "succeeded"
    } == {}
    return done


def name(job: FineTuningJob) -> str:
    assert job.fine_tuned_model is not None
    return job.fine_tuned_model


@pytest.fixture(scope="module")
def hub(stack: Stack) -> InferenceClient:
    return InferenceClient(token=stack.key, timeout=120)


def test_a_job_tells_the_measures_of_its_task(
    loose: OpenAI, jobs: dict[str, FineTuningJob]
) -> None:
    job = jobs["classification"]
    events = loose.fine_tuning.jobs.list_events(job.id, limit=100)
    measured = [event.data for event in events if event.data and "valid_f1_macro" in event.data]
    assert len(measured) == 6, "one for each pass"
    checkpoint = loose.fine_tuning.jobs.checkpoints.list(job.id).data[0]
    assert (checkpoint.metrics.model_extra or {})["valid_accuracy"] > 0.5
    csv, evaluation = (
        base64.b64decode(loose.files.content(id_).content) for id_ in job.result_files
    )
    assert "valid_accuracy" in csv.decode().splitlines()[0]
    report = json.loads(evaluation)
    assert report["accuracy"] > 0.5
    assert set(report["per_label"]) == set(DESKS)
    assert report["confusion_matrix"]["labels"] == sorted(DESKS)


def test_classes_come_in_vllms_shape(
    loose: OpenAI, stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    body = {
        "model": name(jobs["classification"]),
        "input": ["My parcel is late", "Reset my password"],
    }
    with stack.http() as http:
        answer = http.post("/v1/classify", json=body).json()
    assert [item["label"] for item in answer["data"]] == ["shipping", "account"]
    assert answer["labels"] == sorted(DESKS)
    assert sum(answer["data"][0]["probs"]) == pytest.approx(1, abs=1e-3)
    assert answer["data"][0]["num_classes"] == 3


def test_a_classifier_answers_chats(loose: OpenAI, jobs: dict[str, FineTuningJob]) -> None:
    answer = loose.chat.completions.create(
        model=name(jobs["classification"]),
        messages=[{"role": "user", "content": "My parcel is late"}],
        logprobs=True,
        top_logprobs=3,
    )
    (choice,) = answer.choices
    assert choice.message.content == "shipping"
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert {top.token for top in choice.logprobs.content[0].top_logprobs} == set(DESKS)
    stream = loose.chat.completions.create(
        model=name(jobs["classification"]),
        messages=[{"role": "user", "content": "My parcel is late"}],
        stream=True,
    )
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == "shipping"


def test_hugging_faces_client_does_every_task(
    hub: InferenceClient, stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    at = {method: f"{stack.url}/models/{name(job)}" for method, job in jobs.items()}
    classes = hub.text_classification("Reset my password", model=at["classification"])
    assert classes[0].label == "account"
    found = hub.token_classification("Emma lives in Oslo.", model=at["token_classification"])
    assert [(entity.word, entity.entity_group) for entity in found] == [
        ("Emma", "person"),
        ("Oslo", "place"),
    ]
    with stack.http() as http:
        path = f"/models/{name(jobs['token_classification'])}"
        listed = http.post(path, json={"inputs": ["Emma lives in Oslo."]}).json()
    assert [entity["word"] for entity in listed[0]] == ["Emma", "Oslo"], "a list, as of several"
    answer = hub.question_answering(
        question="Where does Anna live?",
        context="Anna lives in Rome.",
        model=at["question_answering"],
    )
    assert (answer.answer, answer.start, answer.end) == ("Rome", 14, 18)
    vector = hub.feature_extraction("Emma in Oslo", model=at["embedding"])
    assert vector.shape == (1, 384)


def test_hugging_faces_client_chooses(
    hub: InferenceClient, stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    at = {method: f"{stack.url}/models/{name(job)}" for method, job in jobs.items()}
    long = "Emma in Oslo " * 400
    with pytest.raises(HfHubHTTPError, match="inputs is longer"):
        hub.feature_extraction(long, model=at["embedding"])
    vector = hub.feature_extraction(
        long, truncate=True, normalize=False, dimensions=8, model=at["embedding"]
    )
    assert vector.shape == (1, 8)
    with pytest.raises(HfHubHTTPError, match="Unknown parameter: 'prompt_name'"):
        hub.feature_extraction("Emma", prompt_name="query", model=at["embedding"])
    logits = hub.text_classification(
        "Reset my password", function_to_apply="none", top_k=2, model=at["classification"]
    )
    assert [logits[0].label, len(logits)] == ["account", 2]
    apart = hub.token_classification(
        "Emma lives in Oslo.", aggregation_strategy="none", model=at["token_classification"]
    )
    assert [(one.word, one.entity) for one in apart] == [("Emma", "B-person"), ("Oslo", "B-place")]
    asked = {"question": "Where does Anna live?", "context": "Anna lives in Rome."}
    model = at["question_answering"]
    answers: Any = hub.question_answering(**asked, top_k=2, model=model)
    assert [answers[0].answer, len(answers)] == ["Rome", 2]
    with pytest.raises(HfHubHTTPError, match=r"parameters\.doc_stride"):
        hub.question_answering(**asked, doc_stride=5, model=model)


def test_scored_pairs_are_measured_by_the_order_of_their_likeness(
    loose: OpenAI, stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    job = jobs["scored"]
    (checkpoint,) = loose.fine_tuning.jobs.checkpoints.list(job.id).data
    spearman = (checkpoint.metrics.model_extra or {})["valid_spearman"]
    assert -1 <= spearman <= 1
    _, evaluation = (base64.b64decode(loose.files.content(id_).content) for id_ in job.result_files)
    report = json.loads(evaluation)
    assert report["spearman"] == pytest.approx(spearman, abs=1e-4)
    assert "pearson" in report
    one, same, other = (
        item.embedding
        for item in loose.embeddings.create(model=name(job), input=["Anna", "Anna", "Felix"]).data
    )
    assert _cosine(one, same) > _cosine(one, other)


def _cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_embeddings_are_the_same_in_both_encodings(
    loose: OpenAI, jobs: dict[str, FineTuningJob]
) -> None:
    for model in (BASE, name(jobs["embedding"])):
        # The SDK asks for base64 unless told otherwise, and decodes it.
        decoded = loose.embeddings.create(model=model, input=["a text"]).data[0].embedding
        plain = loose.embeddings.create(model=model, input="a text", encoding_format="float")
        assert decoded == pytest.approx(plain.data[0].embedding, abs=1e-6)
        assert sum(number**2 for number in decoded) == pytest.approx(1, abs=1e-3)
        assert struct.calcsize("<f") * 384 == 4 * len(decoded)


def test_too_long_a_text_is_cut_only_if_asked(
    loose: OpenAI, stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    body = {"model": name(jobs["classification"]), "input": "late parcel " * 400}
    with stack.http() as http:
        refused = http.post("/v1/classify", json=body)
        cut = http.post("/v1/classify", json={**body, "truncate_prompt_tokens": -1})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert cut.status_code == 200
    with pytest.raises(BadRequestError, match="messages is longer"):
        loose.chat.completions.create(
            model=body["model"], messages=[{"role": "user", "content": body["input"]}]
        )


def test_too_long_a_question_is_cut_only_if_asked_and_no_context_is_too_long(
    stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    path = f"/models/{name(jobs['question_answering'])}"
    long = {"question": "Where does Anna live? " * 60, "context": "Anna lives in Rome."}
    short = {"question": "Where does Anna live?", "context": "Anna lives in Rome. " * 200}
    with stack.http() as http:
        refused = http.post(path, json={"inputs": long})
        cut = http.post(path, json={"inputs": long, "parameters": {"truncate": True}})
        windows = http.post(path, json={"inputs": short})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "inputs.question"
    assert cut.status_code == 200, cut.text
    assert windows.json()["answer"] in short["context"]


def test_what_a_model_is_not_for_is_refused(
    loose: OpenAI, stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    with pytest.raises(BadRequestError, match="needs one for embedding"):
        loose.embeddings.create(model=name(jobs["classification"]), input="a text")
    with pytest.raises(BadRequestError, match="is an encoder"):
        loose.completions.create(model=BASE, prompt="Hello")
    with pytest.raises(BadRequestError, match="is an encoder"):
        loose.chat.completions.create(model=BASE, messages=[{"role": "user", "content": "Hello"}])
    with pytest.raises(BadRequestError, match="Method 'supervised' is not available"):
        loose.fine_tuning.jobs.create(model=BASE, training_file=upload(loose, LABELLED))


@pytest.mark.parametrize(
    ("rows", "held_out", "reason"),
    [
        (LABELLED[:12], None, "only the label 'shipping'"),
        ([*LABELLED, {"text": "odd", "label": "once"}], None, "'once' occurs only once, in line 37"),
        (LABELLED, [{"text": "odd", "label": "new"}], "'new' .line 1. is not in the training file"),
        (TAGGED, None, "needs examples in the classification format"),
    ],
)
def test_labels_that_cannot_be_learned_end_a_job(
    loose: OpenAI,
    rows: list[dict[str, Any]],
    held_out: list[dict[str, Any]] | None,
    reason: str,
) -> None:
    block: Any = {"type": "classification"}
    job = loose.fine_tuning.jobs.create(
        model=BASE,
        training_file=upload(loose, rows),
        validation_file=upload(loose, held_out) if held_out else None,
        method=block,
    )
    failed = wait_for_job(loose, job.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert re.search(reason, failed.error.message)


def test_a_classifier_can_be_made_from_a_causal_model(
    loose: OpenAI, hub: InferenceClient, stack: Stack
) -> None:
    block: Any = {
        "type": "classification",
        "classification": {"hyperparameters": {"n_epochs": 2, "batch_size": 8}},
    }
    made = loose.fine_tuning.jobs.create(
        model=CHAT_BASE, training_file=upload(loose, LABELLED), seed=1, method=block
    )
    job = wait_for_job(loose, made.id)
    assert job.status == "succeeded", job.error
    with stack.http() as http:
        body = {"model": name(job), "input": ["My parcel is late", "Reset my password"]}
        answer = http.post("/v1/classify", json=body)
    assert answer.status_code == 200, answer.text
    assert [item["label"] for item in answer.json()["data"]] == ["shipping", "account"]
    classes = hub.text_classification("Reset my password", model=f"{stack.url}/models/{name(job)}")
    assert classes[0].label == "account"
    messages: Any = [{"role": "user", "content": "You charged me twice"}]
    chat = loose.chat.completions.create(model=name(job), messages=messages)
    assert chat.choices[0].message.content == "billing"
    with pytest.raises(BadRequestError, match="does not generate text"):
        loose.completions.create(model=name(job), prompt="Once")


def test_a_model_that_only_writes_is_not_asked_for_classes(
    stack: Stack, tuned: FineTuningJob
) -> None:
    with stack.http() as http:
        for model in (CHAT_BASE, name(tuned)):
            answer = http.post("/v1/classify", json={"model": model, "input": "a text"})
            assert answer.status_code == 400
            assert "is not an encoder" in answer.json()["error"]["message"]


def test_live_traffic_is_monitored_and_judged(
    loose: OpenAI, hub: InferenceClient, stack: Stack, jobs: dict[str, FineTuningJob]
) -> None:
    """Of the checkpoint of a pass, which no other test asks."""
    job = jobs["classification"]
    checkpoint = loose.fine_tuning.jobs.checkpoints.list(job.id).data[-1]
    model = checkpoint.fine_tuned_model_checkpoint
    with stack.http() as http:
        body = {"model": model, "input": [row["text"] for row in LABELLED] * 3}
        raw = http.post("/v1/classify", json={**body, "input": body["input"][:60]})
        http.post("/v1/classify", json={**body, "input": body["input"][60:]})
        messages: Any = [{"role": "user", "content": "Zyzzyva quokkas yodel fjords"}]
        chat = loose.chat.completions.create(model=model, messages=messages)
        hub.text_classification("My parcel is late", model=f"{stack.url}/models/{model}")
        said = [
            {"id": raw.json()["id"], "index": 0, "label": LABELLED[0]["label"]},
            {"id": raw.headers["x-request-id"], "index": 59, "label": LABELLED[59 % 36]["label"]},
            {"id": chat.id, "label": "billing"},
        ]
        taken = http.post(f"/v1/models/{model}/feedback", json={"feedback": said})
        assert taken.status_code == 200, taken.text
        seen = http.get(f"/v1/models/{model}/monitoring").json()
    assert taken.json()["changed"] == 3
    assert seen["requests"]["answered"] == 4
    assert seen["texts"] == 36 * 3 + 2
    assert {one["label"] for one in seen["labels"]["data"]} == set(DESKS)
    assert seen["input_length"]["drift"]["state"] == "stable", "they are the training file's texts"
    assert seen["unknown_tokens"]["live"]["counts"][-1] == 1, "the nonsense"
    assert seen["feedback"]["texts"] == 3
