"""The playground in a browser: several models at once, encoders' forms, rows for a file."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect
from sqlalchemy.orm import Session

from app.auth import console_sessions
from app.db.tables import Project
from app.http.console_cookie import COOKIE_NAME
from tests.app.console.conftest import find_accessibility_violations
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job
from tests.live_api import Account, Api
from tests.live_server import FakeEngine

TUNED = "ft:base:acme:tickets:Abcd1234"
NAME = "ft:small-encoder:acme::Efgh5678"
HOSTILE = '<img src=x onerror="document.title=1">'

MakeModel = Callable[..., str]


@pytest.fixture
def make(session: Session, account: Account, engine: FakeEngine) -> MakeModel:
    """Make a fine-tuned model of a method; returns its name."""
    project = session.get_one(Project, account.principal.project_id)

    def make(name: str, base: str, method: str) -> str:
        job = make_job(session, project, base_model=base, method=method, state="succeeded")
        return make_model(session, job, name).name

    return make


@pytest.fixture
def pair(make: MakeModel) -> str:
    return make(TUNED, "base", "supervised")


def open_playground(user: Page, **state: str) -> None:
    user.goto("/console/playground" + "".join(f"#{k}={quote(v)}" for k, v in state.items()))


def ask(user: Page, text: str) -> None:
    user.get_by_label("Message", exact=True).fill(text)
    user.get_by_role("button", name="Send").click()
    expect(user.get_by_role("status").first).to_have_text("Done.")


def answers(user: Page) -> Locator:
    return user.locator(".turn-answer > .text")


def parts(*tokens: str) -> str:
    """A system prompt by which the fake engine streams these tokens, each with a probability."""
    stream = [
        {
            "delta": {"content": token},
            "logprobs": {
                "content": [
                    {
                        "token": token,
                        "logprob": -0.5 * index,
                        "bytes": None,
                        "top_logprobs": [{"token": "other", "logprob": -2, "bytes": None}],
                    }
                ]
            },
        }
        for index, token in enumerate(tokens)
    ]
    return "stream " + json.dumps([*stream, {"finish_reason": "stop"}])


def test_base_and_tuned_answer_the_same_prompt(user: Page, pair: str, engine: FakeEngine) -> None:
    open_playground(user)
    ask(user, "Where is my parcel?")
    expect(answers(user)).to_have_text(["Hello", "Hello"])
    sent = [body for body in engine.bodies if "messages" in body and body.get("stream")]
    assert {body["model"] for body in sent} == {"base", TUNED}
    for body in sent:
        assert body["messages"] == [{"role": "user", "content": "Where is my parcel?"}]
        assert (body["temperature"], body["max_tokens"], body["seed"]) == (0, 256, 42)


def test_a_link_to_a_tuned_model_shows_its_base_too(user: Page, pair: str) -> None:
    user.goto(f"/console/playground?model={quote(TUNED)}")
    models = user.get_by_label("Model", exact=True)
    expect(models).to_have_count(2)
    expect(models.nth(0)).to_have_value("base")
    expect(models.nth(1)).to_have_value(TUNED)


def test_another_model_is_the_base_of_the_first_one(user: Page, pair: str) -> None:
    open_playground(user, model=TUNED)
    user.get_by_role("button", name="Compare with another model").click()
    models = user.get_by_label("Model", exact=True)
    expect(models.nth(0)).to_have_value(TUNED)
    expect(models.nth(1)).to_have_value("base")


def test_the_code_is_the_request_that_was_sent(user: Page, pair: str, engine: FakeEngine) -> None:
    open_playground(user, model=TUNED)
    ask(user, "Where is my parcel?")
    code = user.locator("#code-python").text_content()
    assert code is not None
    assert "Where is my parcel?" in code
    assert "assistant" not in code


def test_each_model_continues_its_own_conversation(
    user: Page, pair: str, engine: FakeEngine
) -> None:
    open_playground(user, system="Be short.")
    ask(user, "One")
    ask(user, "Two")
    expect(answers(user)).to_have_count(4)
    assert engine.bodies[-1]["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Two"},
    ]
    user.get_by_role("button", name="Take back the last turn").click()
    expect(answers(user)).to_have_count(2)
    expect(user.get_by_label("Message", exact=True)).to_have_value("Two")


def test_stop_ends_the_generation_in_the_engine(user: Page, pair: str, engine: FakeEngine) -> None:
    open_playground(user)
    user.get_by_label("Message", exact=True).fill("forever")
    user.keyboard.press("Control+Enter")
    expect(answers(user).first).to_have_text("Hello")
    user.get_by_role("button", name="Stop").click()
    expect(user.get_by_role("status").first).to_have_text("Stopped.")
    expect(user.locator(".answer-foot").first).to_contain_text("stopped by you")
    assert engine.aborted.wait(60), "the engine was not aborted"


def test_a_client_that_disconnects_stops_the_generation(
    api: Api, engine: FakeEngine, account: Account, start_session: Callable[..., str]
) -> None:
    """The call in this process closes its connection to the engine."""
    secret = start_session(account.secret)
    headers = {"x-csrf-token": console_sessions.compute_csrf_token(secret)}
    body = {"model": "base", "messages": [{"role": "user", "content": "forever"}], "stream": True}
    url = f"{api.url}/console/api/v1/chat/completions"
    with (
        httpx.Client(cookies={COOKIE_NAME: secret}, headers=headers) as client,
        client.stream("POST", url, json=body) as response,
    ):
        next(response.iter_lines())
    assert engine.aborted.wait(60), "the engine was not aborted"


def test_an_error_is_shown_with_its_model_and_the_message_returns(user: Page, pair: str) -> None:
    open_playground(user)
    ask(user, "too long")
    expect(user.locator("[data-column] .problem")).to_have_count(2)
    expect(user.locator(".problem").first).to_contain_text("maximum context length")
    expect(user.get_by_label("Message", exact=True)).to_have_value("too long")


def test_tokens_have_their_probabilities_and_alternatives(user: Page, pair: str) -> None:
    open_playground(user, system=parts("Your", " parcel\n", HOSTILE))
    user.get_by_label("Probability under each token").check()
    ask(user, "Where?")
    tokens = user.locator("[data-column]").first.locator(".token")
    expect(tokens).to_have_text(
        [re.compile("Your100%"), re.compile("parcel↵61%"), re.compile("37%")]
    )
    expect(tokens.nth(2)).to_contain_text(HOSTILE)
    tokens.first.focus()
    user.keyboard.press("ArrowRight")
    expect(user.locator(".token-detail").first).to_contain_text('likely were also "other" 14%')
    assert user.title() == "Playground · Luthier"


def test_faults_of_json_fields_are_shown_in_place_and_nothing_is_sent(
    user: Page, pair: str, engine: FakeEngine
) -> None:
    open_playground(user)
    user.get_by_text("JSON schema of the answer").click()
    user.get_by_label("JSON schema", exact=True).fill('{"type": ')
    expect(user.locator("#schema-error")).to_contain_text("This is not valid JSON")
    user.get_by_label("Message", exact=True).fill("Hi")
    user.get_by_role("button", name="Send").click()
    expect(user.get_by_role("status").first).to_contain_text("This is not valid JSON")
    assert not [body for body in engine.bodies if "messages" in body]
    user.locator("#schema-details").get_by_role("button", name="Insert an example").click()
    ask(user, "Hi")
    assert engine.bodies[-1]["response_format"]["json_schema"]["schema"]["type"] == "object"


def test_results_of_functions_are_sent_as_such(
    user: Page, make: MakeModel, engine: FakeEngine
) -> None:
    call = {"index": 0, "id": "call_1", "function": {"name": "track_parcel", "arguments": "{}"}}
    stream = [{"delta": {"tool_calls": [call]}}, {"finish_reason": "tool_calls"}]
    open_playground(user, system="stream " + json.dumps(stream))
    user.locator("#tools-details summary").click()
    user.locator("#tools-details").get_by_role("button", name="Insert an example").click()
    ask(user, "Where?")
    expect(user.locator(".call")).to_contain_text("track_parcel")
    user.get_by_label("This is the result of the function that was called").check()
    ask(user, "In Bremen")
    assert engine.bodies[-1]["messages"][-1] == {
        "role": "tool",
        "tool_call_id": "call_1",
        "content": "In Bremen",
    }


def test_a_corrected_answer_becomes_a_row_of_a_new_file(
    user: Page, pair: str, http: httpx.Client
) -> None:
    open_playground(user, system="Be short.")
    ask(user, "Where is my parcel?")
    for answer in ("In Bremen.", "In Bonn."):
        user.get_by_role("button", name="Add to a file").first.click()
        user.get_by_label("Right answer").fill(answer)
        user.get_by_role("button", name="Add the row").click()
    expect(user.locator("#row-count")).to_have_text("2 rows collected.")
    user.get_by_role("button", name="Make a file").click()
    with user.expect_request(re.compile("/console/files/file-")):
        user.get_by_role("button", name="Upload as training file").click()
    file = http.get("/v1/files").json()["data"][0]
    rows = [
        json.loads(line) for line in http.get(f"/v1/files/{file['id']}/content").text.splitlines()
    ]
    assert rows[0] == {
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "Where is my parcel?"},
            {"role": "assistant", "content": "In Bremen."},
        ]
    }
    assert len(rows) == 2


def test_rows_are_appended_to_a_copy_of_a_file(user: Page, pair: str, http: httpx.Client) -> None:
    line = json.dumps(
        {"messages": [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}]}
    )
    files = {"file": ("old.jsonl", line.encode())}
    old = http.post("/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"]
    open_playground(user)
    ask(user, "C")
    user.get_by_role("button", name="Add to a file").first.click()
    user.get_by_role("button", name="Add the row").click()
    user.get_by_role("button", name="Make a file").click()
    user.get_by_label("Begin with the rows of").select_option(old)
    with user.expect_download() as download:
        user.get_by_role("button", name="Download").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0] == line
    assert json.loads(lines[1])["messages"][0]["content"] == "C"
    assert len(lines) == 2


def test_a_classifier_shows_its_labels(user: Page, make: MakeModel) -> None:
    make(NAME, "small-encoder", "classification")
    open_playground(user)
    user.get_by_label("Text", exact=True).fill("an invoice")
    user.get_by_role("button", name="Send").click()
    expect(user.locator(".bars dt")).to_have_text(["billing", "shipping"])
    expect(user.locator(".bars dd").first).to_contain_text("97%")


def test_entities_are_marked_by_characters(user: Page, make: MakeModel) -> None:
    """Offsets count code points; JavaScript's strings have two units for an emoji."""
    make(NAME, "small-encoder", "token_classification")
    open_playground(user)
    user.get_by_label("Text", exact=True).fill("\N{VIOLIN}Ada\N{VIOLIN} lives in Bonn")
    user.get_by_role("button", name="Send").click()
    expect(user.locator("mark")).to_have_text("\N{VIOLIN}Ada\N{VIOLIN}PER")
    user.get_by_role("button", name="Add to a file").click()
    row: dict[str, Any] = json.loads(user.get_by_label("Row, as JSON").input_value())
    assert row["entities"] == [{"start": 0, "end": 5, "label": "PER"}]


def test_an_answer_is_marked_in_its_context(user: Page, make: MakeModel) -> None:
    make(NAME, "small-encoder", "question_answering")
    open_playground(user)
    user.get_by_label("Question", exact=True).fill("Who?")
    user.get_by_label("Context", exact=True).fill("Ada lives in Bonn")
    user.get_by_role("button", name="Send").click()
    expect(user.locator("mark")).to_have_text("Ada")
    expect(user.locator(".best-answer")).to_have_text("Ada")


def test_embeddings_are_compared(user: Page, make: MakeModel) -> None:
    open_playground(user, model="encoder")
    user.get_by_label("Texts, one per line").fill("vector one\nvector two")
    user.get_by_role("button", name="Send").click()
    expect(user.locator(".similarities td")).to_have_text(["1.000"] * 4)


def test_the_url_has_the_prompt_and_code_is_equal(user: Page, pair: str) -> None:
    open_playground(user)
    user.get_by_label("Message", exact=True).fill("It's")
    user.get_by_label("Seed").fill("7")
    user.get_by_text("The same by the API").click()
    expect(user.locator("#code-curl")).to_contain_text(r"It'\''s")
    expect(user.locator("#code-python")).to_contain_text(
        'client.chat.completions.create(\n    model="base"'
    )
    user.goto(user.url.replace("playground", "playground?again"))
    expect(user.get_by_label("Message", exact=True)).to_have_value("It's")
    expect(user.get_by_label("Seed")).to_have_value("7")


def test_the_playground_is_accessible(user: Page, pair: str) -> None:
    open_playground(user, system=parts("Your", " parcel"))
    user.get_by_label("Probability under each token").check()
    ask(user, "Where?")
    assert find_accessibility_violations(user) == []
