"""Named entities on the running stack: the F1 of the job is that of the served model."""

import base64
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from huggingface_hub import InferenceClient
from openai import OpenAI

from tests.contract.running_stack import Stack, run_stack, wait_for_job

pytestmark = [pytest.mark.golden, pytest.mark.timeout(1800)]

Row = dict[str, Any]
Span = tuple[int, int, str]

# Tokens as corpora have them: with signs, digits and addresses in one token.
PEOPLE = ("O'Connor", "Smith-Jones", "D'Angelo", "Li", "van", "J.R.", "Müller")
PLACES = ("U.S.", "St.-Denis", "Oslo", "N.Y.", "Côte-d'Or", "Lima")
DATES = ("2024-01-15", "12/03", "1.5.2023", "2023-12-31")
MAILS = ("k.l@uni.edu", "a-b@x.org", "info@desk.co.uk")
FRAMES = (
    "on DATE PER left PLACE .",
    "PER wrote to MAIL from PLACE on DATE .",
    "write to MAIL before DATE , PER said .",
    "PLACE : PER ( MAIL ) , DATE",
)
WORDS = {"PER": PEOPLE, "PLACE": PLACES, "DATE": DATES, "MAIL": MAILS}


def make_english(random: Random) -> Row:
    tokens, tags = [], []
    for part in random.choice(FRAMES).split():
        tokens.append(random.choice(WORDS[part]) if part in WORDS else part)
        tags.append(f"B-{part}" if part in WORDS else "O")
    return {"tokens": tokens, "tags": tags}


def read_entities(row: Row) -> tuple[str, set[Span]]:
    """Join a row's tokens by spaces; returns the text, and its entities by their characters."""
    spans: list[Span] = []
    text = ""
    for token, tag in zip(row["tokens"], row["tags"], strict=True):
        start = len(text) + 1 if text else 0
        text = f"{text} {token}" if text else token
        if tag.startswith("B-"):
            spans.append((start, len(text), tag[2:]))
    return text, set(spans)


def compute_f1(found: Sequence[set[Span]], right: Sequence[set[Span]]) -> float:
    both = sum(len(one & other) for one, other in zip(found, right, strict=True))
    return 2 * both / (sum(map(len, found)) + sum(map(len, right)))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = Path(tempfile.mkdtemp(prefix="luthier-golden-"))
    with run_stack(home, tmp_path_factory.mktemp("luthier") / "up.log") as running:
        yield running
    shutil.rmtree(home)


def test_what_is_measured_is_what_is_served(stack: Stack) -> None:
    random = Random(5)
    rows = [make_english(random) for _ in range(160)]
    client = OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0, timeout=300)
    ids = [
        client.files.create(
            file=("rows.jsonl", "\n".join(map(json.dumps, part)).encode()), purpose="fine-tune"
        ).id
        for part in (rows[:120], rows[120:])
    ]
    hyperparameters = {"n_epochs": 8, "batch_size": 8, "learning_rate_multiplier": 3}
    method: Any = {
        "type": "token_classification",
        "token_classification": {"hyperparameters": hyperparameters},
    }
    job = client.fine_tuning.jobs.create(
        model="all-minilm-l6-v2",
        training_file=ids[0],
        validation_file=ids[1],
        seed=1,
        method=method,
    )
    done = wait_for_job(client, job.id, seconds=1200)
    assert done.status == "succeeded", done.error
    evaluation = json.loads(
        base64.b64decode(client.files.content(done.result_files[-1]).content).decode()
    )
    hub = InferenceClient(token=stack.key, timeout=120)
    url = f"{stack.url}/models/{done.fine_tuned_model}"
    texts, right = zip(*(read_entities(row) for row in rows[120:]), strict=True)
    found = [
        {
            (entity.start, entity.end, entity.entity_group)
            for entity in hub.token_classification(text, model=url)
        }
        for text in texts
    ]
    served = compute_f1(found, right)
    assert served == pytest.approx(evaluation["f1"], abs=0.005)
    assert served >= 0.9
