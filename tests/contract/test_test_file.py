"""Test file of a job on the live stack: the translation example, measured as it is served."""

import base64
import json
from typing import Any

import httpx
import pytest
import sacrebleu
from openai import OpenAI

from tests.contract.running_stack import BASE, ROOT, Stack, wait_for_job

pytestmark = [pytest.mark.live, pytest.mark.golden]

MODELS = ("base", "tuned")
SAME_CHARACTERS = 10


def example_rows(name: str, count: int | None = None) -> list[dict[str, Any]]:
    lines = (ROOT / f"examples/translation.{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:count]]


def run_job(stack: Stack, client: OpenAI, sizes: dict[str, int | None], **options: Any) -> Any:
    """Run a job on so many rows of each of the example's files; return the job as it is sent."""
    files = {
        role: client.files.create(
            file=(
                f"{role}.jsonl",
                "\n".join(json.dumps(row) for row in example_rows(role, count)).encode(),
            ),
            purpose="fine-tune",
        ).id
        for role, count in sizes.items()
    }
    body = {
        "model": BASE,
        "training_file": files["train"],
        "validation_file": files.get("valid"),
        "test_file": files["test"],
        "test_metrics": ["bleu", "chrf"],
        "seed": 3,
        **options,
    }
    headers = {"Authorization": f"Bearer {client.api_key}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=120) as http:
        job = http.post("/v1/fine_tuning/jobs", json=body).raise_for_status().json()
        done = wait_for_job(client, job["id"], seconds=3_000)
        assert done.status == "succeeded", done.error
        return http.get(f"/v1/fine_tuning/jobs/{job['id']}").json()


def check_results(client: OpenAI, job: Any, rows: list[dict[str, Any]]) -> None:
    """Check the results against the exported pairs, and the pairs against the served model."""
    content = base64.b64decode(client.files.content(job["result_files"][-1]).content)
    report = json.loads(content)["test"]
    pairs = report.pop("answers")
    assert report == job["test_results"]
    assert report["measured_rows"] == len(rows)
    references = [pair["reference"] for pair in pairs]
    assert references == [row["messages"][-1]["content"] for row in rows]
    for model in MODELS:
        outputs = [pair[model] for pair in pairs]
        metrics = job["test_results"][model]
        assert metrics["bleu"] == sacrebleu.corpus_bleu(outputs, [references]).score
        assert metrics["chrf"] == sacrebleu.corpus_chrf(outputs, [references]).score
    names = {"base": BASE, "tuned": job["fine_tuned_model"]}
    for model, pair in ((model, pair) for model in MODELS for pair in pairs[:3]):
        served = client.chat.completions.create(
            model=names[model],
            messages=rows[pair["row"] - 1]["messages"][:-1],
            temperature=0,
            max_tokens=64,
        )
        text = served.choices[0].message.content
        assert text
        # Alone, a request may take the other of two tokens that are nearly equally likely.
        assert text[:SAME_CHARACTERS] == pair[model][:SAME_CHARACTERS]
    messages = [event.message for event in client.fine_tuning.jobs.list_events(job["id"]).data]
    assert any(line.startswith("Test file, ") and "BLEU" in line for line in messages)


def test_the_metrics_are_those_of_the_answers_that_are_served(stack: Stack, client: OpenAI) -> None:
    hyperparameters = {"n_epochs": 1, "batch_size": 6}
    job = run_job(
        stack,
        client,
        {"train": 12, "test": 4},
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
    )
    check_results(client, job, example_rows("test", 4))
