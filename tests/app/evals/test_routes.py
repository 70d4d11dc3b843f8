"""Routes of /v1/evals: requests, responses, pagination, and isolation of projects."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from openai import OpenAI
from sqlalchemy.orm import Session

from app.db.tables import Eval
from app.evals import service
from tests.app.http.test_admission import expect_error
from tests.live_api import Account

EVALS = "/v1/evals"
ITEM_SCHEMA = {"type": "object", "properties": {"ticket": {"type": "string"}, "team": {}}}
CUSTOM = {"type": "custom", "item_schema": ITEM_SCHEMA, "include_sample_schema": True}
EXACT = {
    "type": "string_check",
    "name": "right team",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.team }}",
    "operation": "eq",
}
SIMILAR = {
    "type": "text_similarity",
    "name": "close",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.team }}",
    "evaluation_metric": "fuzzy_match",
    "pass_threshold": 0.8,
}
SCORE = {
    "type": "score_model",
    "name": "judge",
    "model": "base",
    "input": [{"role": "user", "content": "Is {{ sample.output_text }} right?"}],
    "range": [0.0, 10.0],
    "pass_threshold": 7.0,
    "sampling_params": {"seed": 1},
}
LABEL = {
    "type": "label_model",
    "name": "tone",
    "model": "base",
    "input": [{"role": "user", "content": "How is {{ sample.output_text }}?"}],
    "labels": ["kind", "rude"],
    "passing_labels": ["kind"],
}
MULTI = {
    "type": "multi",
    "name": "both",
    "graders": {"exact": EXACT, "tone": LABEL},
    "calculate_output": "exact * tone",
    "pass_threshold": 1.0,
}


def build_body(*criteria: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    body = {"data_source_config": CUSTOM, "testing_criteria": [*criteria] or [EXACT]}
    return body | changes


class TestCreate:
    def test_by_the_official_client(self, openai: OpenAI) -> None:
        created: Any = openai.evals.create(
            name="tickets", metadata={"a": "b"}, **build_body(EXACT, SIMILAR, SCORE, LABEL)
        )
        assert created.id.startswith("eval_")
        assert (created.object, created.name, created.metadata) == ("eval", "tickets", {"a": "b"})
        assert created.created_at > 1_700_000_000
        schema = created.data_source_config.schema_
        assert schema["properties"]["item"] == ITEM_SCHEMA
        assert "output_text" in schema["properties"]["sample"]["properties"]
        assert schema["required"] == ["item", "sample"]
        returned = [criterion.to_dict() for criterion in created.testing_criteria]
        for criterion, sent in zip(returned, (EXACT, SIMILAR, SCORE, LABEL), strict=True):
            assert criterion.pop("id").startswith(f"{sent['name']}-")
            assert criterion == sent
        assert openai.evals.retrieve(created.id).to_dict() == created.to_dict()

    def test_its_status_is_201_also_when_it_is_repeated(self, http: httpx.Client) -> None:
        headers = {"Idempotency-Key": "once"}
        first, second = (http.post(EVALS, json=build_body(), headers=headers) for _ in range(2))
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json() == second.json()
        assert len(http.get(EVALS).json()["data"]) == 1

    def test_without_a_sample_the_schema_has_only_the_item(self, http: httpx.Client) -> None:
        config = {"type": "custom", "item_schema": ITEM_SCHEMA}
        criterion = EXACT | {"input": "{{ item.ticket }}"}
        created = http.post(EVALS, json=build_body(criterion, data_source_config=config)).json()
        assert created["data_source_config"] == {
            "type": "custom",
            "schema": {
                "type": "object",
                "properties": {"item": ITEM_SCHEMA},
                "required": ["item"],
            },
        }
        assert (created["name"], created["metadata"]) == ("", None)

    @pytest.mark.parametrize("type_", ["logs", "stored_completions"])
    def test_stored_completions_have_an_item_and_a_sample(self, openai: OpenAI, type_: Any) -> None:
        created: Any = openai.evals.create(
            data_source_config={"type": type_, "metadata": {"use": "chat"}},
            testing_criteria=[EXACT | {"reference": "{{ item.anything[0].at_all }}"}],  # type: ignore[list-item]
        )
        config = created.data_source_config
        assert (config.type, config.metadata) == (type_, {"use": "chat"})
        assert config.schema_["required"] == ["item", "sample"]

    def test_a_multi_criterion_has_a_threshold(self, http: httpx.Client) -> None:
        created = http.post(EVALS, json=build_body(MULTI)).json()
        (criterion,) = created["testing_criteria"]
        assert criterion.pop("id").startswith("both-")
        assert criterion == MULTI

    def test_braces_that_are_no_variable_are_text(self, http: httpx.Client) -> None:
        body = build_body(EXACT | {"reference": '{{items} {{ "a": {{item.team}} }'})
        assert http.post(EVALS, json=body).status_code == 201

    def test_a_judge_has_a_limit_of_tokens(self, http: httpx.Client) -> None:
        judge = SCORE | {"sampling_params": {"max_completion_tokens": 5}}
        created = http.post(EVALS, json=build_body(judge)).json()
        assert created["testing_criteria"][0]["sampling_params"] == {"max_completion_tokens": 5}

    def test_a_role_that_answers_do_not_have_is_the_users(self, http: httpx.Client) -> None:
        message = {"role": "customer", "content": "Hi"}
        created = http.post(EVALS, json=build_body(LABEL | {"input": [message]})).json()
        assert created["testing_criteria"][0]["input"] == [message | {"role": "user"}]

    def test_a_copied_criterion_gets_another_id(self, http: httpx.Client) -> None:
        first = http.post(EVALS, json=build_body()).json()["testing_criteria"]
        second = http.post(EVALS, json=build_body(*first)).json()["testing_criteria"]
        assert first[0]["id"] != second[0]["id"]

    @pytest.mark.parametrize(
        ("criterion", "param", "reason"),
        [
            (EXACT | {"input": "{{ item.tickt }}"}, "input", "are: ticket, team."),
            (EXACT | {"reference": "{{ team }}"}, "reference", "written as {{ item.name }}"),
            (EXACT | {"input": "{{ sample.output_txt }}"}, "input", "output_json, output_text"),
            (
                LABEL | {"input": [{"role": "user", "content": "{{ item.x }}"}]},
                "input[0].content",
                "are: ticket, team.",
            ),
            (
                MULTI | {"graders": {"one": EXACT | {"input": "{{ item.x }}"}}},
                "graders.one.input",
                "are: ticket, team.",
            ),
        ],
    )
    def test_an_unknown_variable_is_named(
        self, http: httpx.Client, criterion: dict[str, Any], param: str, reason: str
    ) -> None:
        error = expect_error(http.post(EVALS, json=build_body(EXACT, criterion)), 400)
        assert error["param"] == f"testing_criteria[1].{param}"
        assert reason in (error["message"] or "")

    def test_the_output_needs_a_sample_schema(self, http: httpx.Client) -> None:
        config = {"type": "custom", "item_schema": ITEM_SCHEMA}
        error = expect_error(http.post(EVALS, json=build_body(data_source_config=config)), 400)
        assert error["param"] == "testing_criteria[0].input"
        assert "include_sample_schema" in (error["message"] or "")

    @pytest.mark.parametrize(
        "schema", [{}, {"foo": "bar"}, ITEM_SCHEMA | {"additionalProperties": True}]
    )
    def test_a_schema_may_leave_the_fields_open(
        self, http: httpx.Client, schema: dict[str, Any]
    ) -> None:
        body = build_body(
            EXACT | {"input": "{{ item.other }}"},
            data_source_config=CUSTOM | {"item_schema": schema},
        )
        assert http.post(EVALS, json=body).status_code == 201

    @pytest.mark.parametrize(
        ("change", "param"),
        [
            ({"testing_criteria": []}, "testing_criteria"),
            ({"testing_criteria": [EXACT] * 21}, "testing_criteria"),
            ({"testing_criteria": [EXACT | {"operation": "in"}]}, "testing_criteria[0].operation"),
            ({"testing_criteria": [EXACT | {"threshold": 1}]}, "testing_criteria[0].threshold"),
            (
                {"testing_criteria": [{"type": "python", "name": "p", "source": "x"}]},
                "testing_criteria[0].type",
            ),
            (
                {"testing_criteria": [SIMILAR | {"pass_threshold": 7}]},
                "testing_criteria[0].pass_threshold",
            ),
            (
                {"testing_criteria": [SIMILAR | {"pass_threshold": -5}]},
                "testing_criteria[0].pass_threshold",
            ),
            (
                {"testing_criteria": [SCORE | {"pass_threshold": 11}]},
                "testing_criteria[0].pass_threshold",
            ),
            (
                {"testing_criteria": [LABEL | {"labels": ["kind", "rude", "kind"]}]},
                "testing_criteria[0].labels",
            ),
            (
                {"testing_criteria": [EXACT | {"input": "{{item.ticket"}]},
                "testing_criteria[0].input",
            ),
            (
                {"testing_criteria": [SCORE | {"sampling_params": {"bogus": 1}}]},
                "testing_criteria[0].sampling_params.bogus",
            ),
            ({"data_source_config": {"type": "csv"}}, "data_source_config.type"),
            ({"data_source": {}}, "data_source"),
            ({"metadata": {"a": 1}}, "metadata.a"),
            ({"name": "a\nb"}, "name"),
        ],
    )
    def test_invalid_requests(self, http: httpx.Client, change: dict[str, Any], param: str) -> None:
        error = expect_error(http.post(EVALS, json=build_body() | change), 400)
        assert error["param"] == param

    def test_a_judge_must_exist(self, http: httpx.Client) -> None:
        for criterion in (SCORE, LABEL):
            response = http.post(EVALS, json=build_body(criterion | {"model": "nobody"}))
            assert expect_error(response, 404)["code"] == "model_not_found"
        judge = LABEL | {"model": "encoder"}
        error = expect_error(http.post(EVALS, json=build_body(EXACT, judge)), 400)
        assert error["param"] == "testing_criteria[1].model"

    def test_a_long_eval_is_refused(self, http: httpx.Client) -> None:
        long = EXACT | {"input": "x" * 100_000}
        error = expect_error(http.post(EVALS, json=build_body(long, long, long)), 400)
        assert error["code"] == "string_above_max_length"

    def test_a_project_has_a_maximum_number(
        self, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "MAX_EVALS", 1)
        first = http.post(EVALS, json=build_body()).json()
        error = expect_error(http.post(EVALS, json=build_body()), 400)
        assert error["code"] == "eval_limit_exceeded"
        http.delete(f"{EVALS}/{first['id']}")
        assert http.post(EVALS, json=build_body()).status_code == 201


class TestList:
    def test_oldest_first_by_default(self, openai: OpenAI) -> None:
        made = [openai.evals.create(**build_body(name=str(number))).id for number in range(3)]
        assert [each.id for each in openai.evals.list()] == made
        assert [each.id for each in openai.evals.list(limit=2, order="desc")] == made[::-1]
        page = openai.evals.list(limit=2)
        assert (page.has_more, page.to_dict()["last_id"]) == (True, made[1])

    def test_by_the_time_of_the_last_update(self, openai: OpenAI) -> None:
        made = [openai.evals.create(**build_body()).id for _ in range(3)]
        openai.evals.update(made[0], name="later")
        updated = [each.id for each in openai.evals.list(order_by="updated_at", limit=1)]
        assert updated == [made[1], made[2], made[0]]

    def test_deleting_while_paging_reaches_all(self, openai: OpenAI) -> None:
        for _ in range(3):
            openai.evals.create(**build_body())
        for each in openai.evals.list(limit=1):
            openai.evals.delete(each.id)
        assert list(openai.evals.list()) == []


class TestUpdateAndDelete:
    def test_what_is_omitted_stays(self, openai: OpenAI) -> None:
        id_ = openai.evals.create(**build_body(name="old", metadata={"a": "b"})).id
        assert openai.evals.update(id_, name="new").metadata == {"a": "b"}
        updated = openai.evals.update(id_, metadata=None)
        assert (updated.name, updated.metadata) == ("new", None)
        assert openai.evals.retrieve(id_).name == "new"

    def test_the_content_of_a_deleted_eval_is_erased(
        self, openai: OpenAI, session: Session
    ) -> None:
        id_ = openai.evals.create(**build_body(name="secret", metadata={"a": "b"})).id
        deleted = openai.evals.delete(id_)
        assert deleted.to_dict() == {"object": "eval.deleted", "deleted": True, "eval_id": id_}
        row = session.get_one(Eval, id_)
        assert (row.name, row.user_metadata, row.testing_criteria) == ("", None, [])
        assert row.data_source_config == {}

    def test_a_deleted_eval_is_unknown(self, http: httpx.Client) -> None:
        path = f"{EVALS}/{http.post(EVALS, json=build_body()).json()['id']}"
        assert http.delete(path).status_code == 200
        for response in (http.get(path), http.post(path, json={}), http.delete(path)):
            assert expect_error(response, 404)["code"] == "eval_not_found"


def test_another_projects_eval_is_unknown(
    http: httpx.Client, other_tenant: httpx.Client, account: Account
) -> None:
    path = f"{EVALS}/{http.post(EVALS, json=build_body()).json()['id']}"
    for response in (
        other_tenant.get(path),
        other_tenant.post(path, json={"name": "mine"}),
        other_tenant.delete(path),
    ):
        assert expect_error(response, 404)["param"] == "eval_id"
    assert other_tenant.get(EVALS).json()["data"] == []
    assert http.get(path).json()["name"] == ""


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ("exact ** exact ** 9999999999", "written ^"),
        ("exact ^ exact ^ 9999999999", "an exponent is at most 1,000"),
        ("exact ^ -9999999999", "an exponent is at most 1,000"),
        ("nobody * 2", "there is no grader 'nobody'"),
        ("exact +", "syntax error"),
    ],
)
def test_an_invalid_formula_is_refused_at_creation(
    http: httpx.Client, formula: str, reason: str
) -> None:
    body = build_body(MULTI | {"calculate_output": formula})
    error = expect_error(http.post(EVALS, json=body), 400)
    assert reason in str(error["message"])
    assert error["param"] == "testing_criteria[0].calculate_output"


@pytest.mark.parametrize("path", ["", "/{id}/runs"])
def test_a_page_of_0_is_the_last(http: httpx.Client, path: str) -> None:
    """The SDK's own suite requests it, so it is no error."""
    created = http.post(EVALS, json=build_body()).json()["id"]
    source = {"type": "file_content", "content": [{"item": {}}]}
    http.post(f"{EVALS}/{created}/runs", json={"data_source": {"type": "jsonl", "source": source}})
    page = http.get(f"{EVALS}{path.format(id=created)}?limit=0").json()
    assert (page["data"], page["has_more"]) == ([], False)
    assert len(http.get(f"{EVALS}{path.format(id=created)}?limit=1").json()["data"]) == 1
