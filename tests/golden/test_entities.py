"""Named entities on the running stack: the F1 of the job is that of the served model."""

import base64
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from huggingface_hub import InferenceClient
from openai import OpenAI

from tests.contract.running_stack import Stack, run_stack, wait_for_job

pytestmark = [pytest.mark.golden, pytest.mark.timeout(3600)]

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
# Tokens are characters and numbers, as corpora of Chinese have them.
CHINESE_FRAMES = (
    "DATE。PER的行李去PLACE。",
    "PER和PER同行。DATE見PLACE。",
    "PLACE「PER」DATE「先生」",
    "本部門長PER宣言。PLACE市民DATE去。",
)
CHINESE_WORDS = {
    "PER": ("王小明", "李明", "田中一郎", "陳大文", "林青山", "張光"),
    "PLACE": ("北京", "上海", "南京大学", "東京", "台北市", "西安"),
    "DATE": ("二年三月五日", "八月一日", "十月二日", "2024年1月"),
}
MARKS = re.compile("PER|PLACE|DATE")


def make_english(random: Random) -> Row:
    tokens, tags = [], []
    for part in random.choice(FRAMES).split():
        tokens.append(random.choice(WORDS[part]) if part in WORDS else part)
        tags.append(f"B-{part}" if part in WORDS else "O")
    return {"tokens": tokens, "tags": tags}


def make_chinese(random: Random) -> Row:
    tokens: list[str] = []
    tags: list[str] = []
    for part in re.split(f"({MARKS.pattern})", random.choice(CHINESE_FRAMES)):
        text = random.choice(CHINESE_WORDS[part]) if part in CHINESE_WORDS else part
        for index, token in enumerate(re.findall("[0-9]+|.", text)):
            tokens.append(token)
            kind = "I" if index else "B"
            tags.append(f"{kind}-{part}" if part in CHINESE_WORDS else "O")
    return {"tokens": tokens, "tags": tags}


def join_english(tokens: Sequence[str]) -> str:
    return " ".join(tokens)


def join_chinese(tokens: Sequence[str]) -> str:
    return "".join(tokens)


def read_entities(row: Row, join: Callable[[Sequence[str]], str]) -> tuple[str, set[Span]]:
    """Join a row's tokens; returns the text, and its entities by their characters."""
    tokens, tags = row["tokens"], row["tags"]
    spans = set()
    for first, tag in enumerate(tags):
        if tag.startswith("B-"):
            last = first + 1
            while last < len(tags) and tags[last] == f"I-{tag[2:]}":
                last += 1
            end = len(join(tokens[:last]))
            # Joined from the first token on: what separates it from those before it is not in it.
            spans.add((end - len(join(tokens[first:last])), end, tag[2:]))
    return join(tokens), spans


def compute_f1(found: Sequence[set[Span]], right: Sequence[set[Span]]) -> float:
    both = sum(len(one & other) for one, other in zip(found, right, strict=True))
    return 2 * both / (sum(map(len, found)) + sum(map(len, right)))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = Path(tempfile.mkdtemp(prefix="luthier-golden-"))
    with run_stack(home, tmp_path_factory.mktemp("luthier") / "up.log") as running:
        yield running
    shutil.rmtree(home)


@pytest.mark.parametrize(
    ("make_row", "join"),
    [
        pytest.param(make_english, join_english, id="english"),
        pytest.param(make_chinese, join_chinese, id="chinese"),
    ],
)
def test_what_is_measured_is_what_is_served(
    stack: Stack, make_row: Callable[[Random], Row], join: Callable[[Sequence[str]], str]
) -> None:
    random = Random(5)
    rows = [make_row(random) for _ in range(160)]
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
    done = wait_for_job(client, job.id, seconds=3000)
    assert done.status == "succeeded", done.error
    evaluation = json.loads(
        base64.b64decode(client.files.content(done.result_files[-1]).content).decode()
    )
    hub = InferenceClient(token=stack.key, timeout=120)
    url = f"{stack.url}/models/{done.fine_tuned_model}"
    texts, right = zip(*(read_entities(row, join) for row in rows[120:]), strict=True)
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
