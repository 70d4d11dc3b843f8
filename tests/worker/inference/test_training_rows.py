"""A new job fails at validation if the base model's chat template has nothing to learn in it."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.catalog import Catalog, CatalogModel
from app.db.session import SessionMaker, transaction
from app.db.tables import Job
from app.inference.rendering_check import MAX_ROWS, RenderingCheck
from app.operations.job_validation import JobValidator
from app.settings import Settings
from app.storage import LocalStore
from tests.factories import make_file, make_job, make_project
from tests.worker.inference.running_engine import EngineClient, catalog_entry, running_engine

Row = dict[str, Any]
Validate = Callable[..., Job]
MakeValidate = Callable[[str], Validate]

BEGIN = "{% for m in messages %}"
END = "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
TEMPLATES = {
    "drops-answers": f"{BEGIN}{{% if m.role == 'user' %}}{TURN}{{% endif %}}{END}",
    "refuses-names": f"{BEGIN}{{% if m.name %}}{{{{ raise_exception('no names') }}}}{{% endif %}}"
    f"{TURN}{END}",
}


def chat(*texts: str, **last: Any) -> Row:
    roles = ("user", "assistant")
    messages = [{"role": roles[place % 2], "content": text} for place, text in enumerate(texts)]
    return {"messages": [*messages[:-1], {**messages[-1], **last}]}


def preference(chosen: str, rejected: str) -> Row:
    return {
        "input": {"messages": [{"role": "user", "content": "1"}]},
        "preferred_output": [{"role": "assistant", "content": chosen}],
        "non_preferred_output": [{"role": "assistant", "content": rejected}],
    }


@pytest.fixture(scope="module")
def home(
    base_folder: Path, base_model: CatalogModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A home whose catalog has models with other templates, of which no weights can be loaded."""
    home = tmp_path_factory.mktemp("engine")
    entries = [catalog_entry(base_model)]
    for name, template in TEMPLATES.items():
        folder = shutil.copytree(base_folder, home / name)
        (folder / "chat_template.jinja").write_text(template)
        (folder / "model.safetensors").unlink()
        entries.append(catalog_entry(base_model, id=name, source=f"path:{folder}"))
    hub_source = f"hf:nobody/nothing@{40 * 'a'}"
    entries.append(catalog_entry(base_model, id="not-fetched", source=hub_source))
    (home / "entries.toml").write_text("\n".join(entries))
    return home


@pytest.fixture(scope="module")
def engine(home: Path) -> Iterator[EngineClient]:
    with running_engine(home, (home / "entries.toml").read_text()) as engine:
        yield engine


@pytest.fixture
def make_validate(home: Path, sessions: SessionMaker, tmp_path: Path) -> Iterator[MakeValidate]:
    """Make a function that validates a new job whose training file has the given rows."""
    store = LocalStore(tmp_path)
    catalog = Catalog.load(home / "entries.toml")

    checks: list[RenderingCheck] = []

    def make(engine_url: str) -> Validate:
        check = RenderingCheck(Settings(home=tmp_path, engine_url=engine_url))
        checks.append(check)
        validator = JobValidator(sessions, store, catalog, check)

        def validate(rows: Sequence[Row], *, format: str = "chat", **changes: Any) -> Job:
            with transaction(sessions) as session:
                project = make_project(session)
                file = make_file(session, project, format=format, examples=len(rows))
                store.put(file.storage_key, "\n".join(map(json.dumps, rows)).encode())
                fields = {"base_model": "tiny", "training_file_id": file.id, **changes}
                job = make_job(session, project, state="validating_files", **fields)
            validator.validate_next()
            with transaction(sessions) as session:
                return session.get_one(Job, job.id)

        return validate

    yield make
    for check in checks:
        check.close()


@pytest.fixture
def validate(engine: EngineClient, make_validate: MakeValidate) -> Validate:
    return make_validate(engine.url)


def assert_failed(job: Job, *parts: str) -> None:
    assert (job.state, job.error_code, job.error_param) == (
        "failed",
        "invalid_training_file",
        "training_file",
    )
    assert job.attempt == 0, "no trainer had it"
    for part in ("The job failed due to an invalid training file.", *parts):
        assert part in (job.error_message or "")


def test_a_job_with_one_turn_to_learn_is_queued(validate: Validate) -> None:
    too_long = chat("1", "2" * 600)
    assert validate([too_long] * (2 * MAX_ROWS) + [chat("1", "2")]).state == "queued"


def test_a_template_that_renders_no_answer_fails_the_job(validate: Validate) -> None:
    job = validate([chat("1", "2", "3", "4")] * (MAX_ROWS + 1), base_model="drops-answers")
    turns = 2 * (MAX_ROWS + 1)
    assert_failed(job, f"None of the {turns} assistant turns can be learned, from example 1 on.")


def test_rows_that_the_template_refuses_fail_the_job(validate: Validate) -> None:
    rows = [chat("1", "2" * 600)] * MAX_ROWS + [chat("1", "2", name="Anna")] * 10
    job = validate(rows, base_model="refuses-names")
    assert_failed(job, f"Example {MAX_ROWS + 1}: ", "rejects these messages: no names")


def test_answers_beyond_the_length_of_a_row_fail_the_job(validate: Validate) -> None:
    rows = [chat("1", "2 3 4 5 6 7 8 9")] * 10
    assert validate(rows).state == "queued"
    job = validate(rows, hyperparameters={"max_seq_length": 8})
    assert_failed(job, "a row has at most 8 tokens")
    job = validate(rows, hyperparameters={"max_seq_length": 8, "long_rows": "drop"})
    assert_failed(job, "Each is in an example that is left out (it is longer than 8 tokens")


def test_equal_outputs_fail_a_preference_job(validate: Validate) -> None:
    dpo = {"format": "preference", "method": "dpo"}
    assert validate([preference("2", "3")] * 10, **dpo).state == "queued"
    assert_failed(validate([preference("2", "2")] * 10, **dpo), "both are the same")


def test_reasoning_is_learned_by_a_job_with_reasoning(validate: Validate) -> None:
    rows = [chat("1", "2", reasoning_content="Think.")] * 10
    assert validate(rows).state == "queued"


@pytest.mark.parametrize("name", ["not-fetched", "unknown"])
def test_a_model_that_the_engine_does_not_have_is_left_to_training(
    validate: Validate, name: str
) -> None:
    assert validate([chat("1", "2" * 600)] * 10, base_model=name).state == "queued"


def test_an_engine_that_is_away_is_asked_once(
    make_validate: MakeValidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[str] = []
    post = httpx.Client.post

    def count(client: httpx.Client, url: str, **more: Any) -> httpx.Response:
        requests.append(url)
        return post(client, url, **more)

    monkeypatch.setattr(httpx.Client, "post", count)
    validate = make_validate("http://127.0.0.1:1")
    jobs = [validate([chat("1", "2" * 600)] * 10) for _ in range(3)]
    assert [job.state for job in jobs] == ["queued"] * 3
    assert len(requests) == 1
