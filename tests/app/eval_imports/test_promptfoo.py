"""Configs of promptfoo: what becomes criteria, items and runs, and what is named as missing."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.eval_imports.checks import CRITERION
from app.eval_imports.plan import Difference, ImportFault, ImportPlan, Outcome
from app.eval_imports.promptfoo import plan_promptfoo
from app.eval_imports.task import ImportResult, ImportTask, run_import_task
from app.evals.criterion_run import find_threshold
from app.graders.formula import evaluate
from app.graders.grading_task import GradingRequest, grade
from app.graders.runner import list_parts

SYSTEM = {"role": "system", "content": "S"}
CONFIG = Path(__file__).with_name("promptfooconfig.yaml")


def plan(*tests: Any, **config: Any) -> ImportPlan:
    return plan_promptfoo({"tests": list(tests), "prompts": "Hi", **config})


def build_test(*assertions: Any, **variables: Any) -> dict[str, Any]:
    return {"vars": variables, "assert": list(assertions)}


def items(planned: ImportPlan, number: int = 0) -> list[dict[str, Any]]:
    return [orjson.loads(line)["item"] for line in planned.files[number].splitlines()]


def passes(planned: ImportPlan, output: str) -> bool:
    """Grade an output by the only criterion of the only test, as a run does."""
    ((_, fields),) = planned.evals[0].criteria
    criterion = CRITERION.validate_python(fields)
    (item,) = items(planned)
    parts = list_parts(criterion)
    graded = grade(GradingRequest(graders=parts, sample=output, item=item))
    rewards = {name: result.reward or 0.0 for name, result in graded.results.items()}
    formula = getattr(criterion, "calculate_output", None)
    reward = evaluate(formula, rewards) if formula else next(iter(rewards.values()))
    return reward >= find_threshold(criterion)


@pytest.mark.parametrize(
    ("kind", "value", "passing", "failing"),
    [
        ("equals", "Paris", "Paris", "paris"),
        ("equals", 4, "4", "4.0"),
        ("equals", True, "true", "True"),
        ("equals", "{{answer}}!", "Lima!", "{{answer}}!"),
        ("not-equals", "Paris", "Lima", "Paris"),
        ("contains", "aris", "Paris", "Lima"),
        ("contains", 0, "10", "11"),
        ("not-contains", "aris", "Lima", "Paris"),
        ("icontains", "PARIS", "in Paris", "in Lima"),
        ("not-icontains", "PARIS", "in Lima", "in Paris"),
        ("contains-all", ["a", "b"], "b a", "a"),
        ("contains-all", 'a, "b, c"', "a b, c", "a b c"),
        ("not-contains-all", ["a", "b"], "a", "a b"),
        ("contains-any", ["{{answer}}", "b"], "Lima", "Paris"),
        ("contains-any", ["x"], "x", "y"),
        ("not-contains-any", ["a", "b"], "c", "b"),
        ("icontains-all", ["A", "B"], "ab", "a"),
        ("icontains-any", ["A", "B"], "b", "c"),
        ("rouge-n", "the cat sat", "the cat sat", "a dog"),
        ("bleu", "the cat sat on the mat", "the cat sat on the mat", "a dog"),
        ("gleu", "the cat sat", "the cat sat", "a dog"),
        ("meteor", "the cat sat", "the cat sat", "a dog"),
    ],
)
def test_an_assertion_passes_as_its_criterion(
    kind: str, value: Any, passing: str, failing: str
) -> None:
    planned = plan(build_test({"type": kind, "value": value}, answer="Lima"))
    assert passes(planned, passing)
    assert not passes(planned, failing)
    assert not [each for each in planned.differences if each.outcome == Outcome.LEFT_OUT]


@pytest.mark.parametrize(
    ("assertion", "problem"),
    [
        ({"type": "regex", "value": "a+"}, "No criterion means the same"),
        ({"type": "is-json"}, "No criterion means the same"),
        ({"type": "javascript", "value": "true"}, "runs no programs of clients"),
        ({"type": "python", "value": "True"}, "runs no programs of clients"),
        ({"type": "webhook", "value": "https://example.com"}, "calls no servers"),
        ({"type": "latency", "threshold": 5}, "do not measure"),
        ({"type": "trajectory:tool-used", "value": "x"}, "do not measure"),
        ({"type": "equals", "value": {"a": 1}}, "compares JSON values"),
        ({"type": "equals", "value": "x", "normalizeUnicode": True}, "'normalizeUnicode'"),
        ({"type": "equals", "value": "x", "weight": 0}, "weight is 0"),
        ({"type": "equals", "value": "x", "transform": "output.trim()"}, "'transform'"),
        ({"type": "equals", "value": "file://x.txt"}, "in another file"),
        ({"type": "equals", "value": "{{x | upper}}"}, "filters of Nunjucks"),
        ({"type": "equals", "value": "{{missing}}"}, "variable that the test does not have"),
        ({"type": "equals"}, "is no text"),
        ({"type": "contains", "value": ""}, "is empty"),
        ({"type": "contains-all", "value": []}, "1 to 20"),
        ({"type": "contains-all", "value": ["a"] * 21}, "1 to 20"),
        ({"type": "not-similar", "value": "x"}, "its negation"),
        ({"type": "similar", "value": "x", "threshold": "high"}, "no number"),
        ({"type": "llm-rubric", "value": "x", "rubricPrompt": "y"}, "'rubricPrompt'"),
        ({"type": "assert-set", "threshold": 0.5, "assert": []}, "a part of its assertions"),
        ({"$ref": "#/assertionTemplates/none"}, "names no template"),
    ],
)
def test_an_assertion_that_has_no_criterion(assertion: dict[str, Any], problem: str) -> None:
    kept = {"type": "equals", "value": "kept"}
    planned = plan(build_test(kept, assertion, x="y"))
    assert len(planned.evals[0].criteria) == 1
    assert items(planned)[0]["expected"] == ["kept"]
    (difference,) = planned.differences
    assert difference.outcome == Outcome.LEFT_OUT
    assert problem in difference.reason
    assert difference.places == ["tests[0].assert[1]"]


@pytest.mark.parametrize(
    ("test", "problem"),
    [
        ({"vars": "file://vars.yaml"}, "variables are in another file"),
        ({"vars": {"a": "file://a.txt"}}, "variable is in another file"),
        ({"vars": {"a": "{{b}}"}}, "is a template"),
        ({"threshold": 0.5}, "mean of its scores"),
        ({"providerOutput": "x"}, "output is given"),
        ({"options": {"transform": "output.trim()"}}, "A program changes"),
        ({"options": {"prefix": "x"}}, "prefix or suffix of its own"),
        ({"assert": "file://assertions.yaml"}, "assertions are in another file"),
        ({"assert": []}, "no assertion that could be"),
        ({"assert": [{"type": "equals", "value": "x"}] * 21}, "more than 20"),
        ("file://tests.yaml", "in another file"),
    ],
)
def test_a_test_that_is_no_item(test: Any, problem: str) -> None:
    kept = build_test({"type": "equals", "value": "kept"})
    if isinstance(test, dict):
        test = kept | test
    planned = plan(kept, test)
    assert len(items(planned)) == 1
    (difference,) = planned.differences
    assert problem in difference.reason
    assert difference.places == ["tests[1]"]


def test_what_describes_a_test_has_the_types_of_the_schema() -> None:
    test = build_test({"type": "equals", "value": "x"})
    planned = plan(
        test | {"description": "d", "metadata": {"a": 1}},
        test | {"description": 5, "metadata": [1]},
        defaultTest={"metadata": {"b": 2}},
    )
    first, second = items(planned)
    assert (first["description"], first["metadata"]) == ("d", {"a": 1})
    assert second.keys() == {"vars", "expected"}
    assert [(each.subject, each.places) for each in planned.differences] == [
        ("'metadata' of tests", ["defaultTest"]),
        ("'description' of tests", ["tests[1]"]),
        ("'metadata' of tests", ["tests[1]"]),
    ]


def test_a_set_whose_assertions_are_elsewhere() -> None:
    elsewhere = {"type": "assert-set", "assert": "file://set.yaml"}
    planned = plan(build_test({"type": "equals", "value": "x"}, elsewhere))
    (difference,) = planned.differences
    assert difference.places == ["tests[0].assert[1].assert"]


class TestJudges:
    def build(self, assertion: dict[str, Any], **options: Any) -> dict[str, Any]:
        test = build_test({"type": "llm-rubric", "value": "Is kind"} | assertion)
        planned = plan(test | {"options": options})
        ((_, criterion),) = planned.evals[0].criteria
        CRITERION.validate_python(criterion)
        assert items(planned)[0]["expected"] == ["Is kind"]
        return criterion

    def test_labels(self) -> None:
        criterion = self.build({})
        assert (criterion["type"], criterion["model"]) == ("label_model", "")
        assert criterion["passing_labels"] == ["pass"]
        text = criterion["input"][0]["content"]
        assert "{{ item.expected[0] }}" in text
        assert "{{ sample.output_text }}" in text
        assert self.build({"type": "not-llm-rubric"})["passing_labels"] == ["fail"]
        assert self.build({"type": "model-graded-closedqa"})["type"] == "label_model"

    def test_a_threshold_is_that_of_a_score(self) -> None:
        criterion = self.build({"threshold": 0.8})
        assert (criterion["type"], criterion["pass_threshold"]) == ("score_model", 0.8)
        assert criterion["range"] == [0.0, 1.0]

    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("openai:gpt-4.1", "gpt-4.1"),
            ("openai:chat:ft:gpt-4:o::1", "ft:gpt-4:o::1"),
            ({"id": "openai:responses:gpt-5"}, "gpt-5"),
            ("anthropic:messages:claude", "anthropic:messages:claude"),
        ],
    )
    def test_models(self, provider: Any, model: str) -> None:
        assert self.build({"provider": provider})["model"] == model
        assert self.build({}, provider=provider)["model"] == model


def test_tests_with_the_same_assertions_are_items_of_one_eval() -> None:
    capital = {"type": "equals", "value": "{{capital}}"}
    polite = {"type": "icontains", "value": "please"}
    planned = plan(
        build_test(capital, country="Peru", capital="Lima"),
        build_test(polite, country="Chad"),
        build_test(capital, country=["Mali", "Cuba"], capital="x", more={"a": [1]}),
        description="Capitals",
        prompts=["Capital of {{country}}, {{ style }}?"],
    )
    assert [each.name for each in planned.evals] == ["Capitals (1 of 2)", "Capitals (2 of 2)"]
    first = items(planned)
    assert [item["vars"]["country"] for item in first] == ["Peru", "Mali", "Cuba"]
    assert [item["expected"] for item in first] == [["Lima"], ["x"], ["x"]]
    assert first[0]["vars"]["style"] == "", "Nunjucks writes nothing for an unknown variable"
    assert items(planned, 1)[0]["expected"] == ["please"]
    config = planned.evals[0].data_source_config
    assert set(config["item_schema"]["properties"]["vars"]["properties"]) == {
        "country",
        "capital",
        "style",
        "more",
    }


def test_the_default_test_and_sets() -> None:
    default = {
        "vars": {"style": "short", "country": "none"},
        "assert": [{"type": "contains", "value": "{{style}}"}],
    }
    template = {"type": "icontains", "value": "b"}
    both = {"type": "assert-set", "assert": [{"$ref": "#/assertionTemplates/b"}]}
    planned = plan(
        build_test(both, country="Peru"),
        build_test(both) | {"options": {"disableDefaultAsserts": True}},
        defaultTest=default,
        assertionTemplates={"b": template},
    )
    assert [item["expected"] for number in (0, 1) for item in items(planned, number)] == [
        ["short", "b"],
        ["b"],
    ]
    assert items(planned)[0]["vars"] == {"style": "short", "country": "Peru"}
    places = [[place for place, _ in each.criteria] for each in planned.evals]
    assert places[0] == ["defaultTest.assert[0]", "tests[0].assert[0].assert[0]"]


def test_lists_may_be_values() -> None:
    test = build_test({"type": "equals", "value": "x"}, a=["b", "c"])
    planned = plan(test | {"options": {"disableVarExpansion": True}})
    assert items(planned)[0]["vars"] == {"a": ["b", "c"]}


class TestRuns:
    def test_each_prompt_with_each_model(self) -> None:
        planned = plan(
            build_test({"type": "equals", "value": "x"}),
            prompts=[
                "One {{a}}",
                {"raw": json.dumps([SYSTEM, {"role": "user", "content": "{{a.b[0]}}"}])},
                {"label": "third", "raw": "- role: user\n  content: Three"},
            ],
            providers=["openai:base", {"id": "openai:gpt-4.1", "config": {"max_tokens": 5}}],
        )
        runs = planned.evals[0].runs
        assert [run.name for run in runs] == [
            "One {{a}}, base",
            "One {{a}}, gpt-4.1",
            "{{a.b[0]}}, base",
            "{{a.b[0]}}, gpt-4.1",
            "third, base",
            "third, gpt-4.1",
        ]
        templates = [run.data_source["input_messages"]["template"] for run in runs[::2]]
        assert templates == [
            [{"role": "user", "content": "One {{ item.vars.a }}"}],
            [
                SYSTEM,
                {"role": "user", "content": "{{ item.vars.a.b[0] }}"},
            ],
            [{"role": "user", "content": "Three"}],
        ]
        assert runs[1].data_source["sampling_params"] == {"max_completion_tokens": 5}
        assert {run.file for run in runs} == {0}

    @pytest.mark.parametrize(
        ("prompt", "problem"),
        [
            ("file://prompts.txt", "in another file"),
            ("prompts/a.py", "in another file"),
            ("langfuse://my-prompt:3", "in another file or service"),
            ("{% if a %}b{% endif %}", "statements or comments"),
            ("{{ a | upper }}", "filters of Nunjucks"),
            ("{{ env.KEY }}", "variables of the environment"),
            ("{{ a", "not closed"),
            ([1], "It is no text"),
        ],
    )
    def test_a_prompt_that_has_no_counterpart(self, prompt: Any, problem: str) -> None:
        planned = plan(build_test({"type": "equals", "value": "x"}), prompts=["kept", prompt])
        assert [run.name for run in planned.evals[0].runs] == ["kept"]
        (difference,) = planned.differences
        assert problem in difference.reason
        assert difference.places == ["prompts[1]"]

    def test_other_keys_of_prompts_and_messages_are_named(self) -> None:
        messages = json.dumps([{"role": "user", "content": "Hi", "name": "Ada"}])
        prompt = {"raw": messages, "label": "p", "config": {"a": 1}}
        planned = plan(build_test({"type": "equals", "value": "x"}), prompts=[prompt])
        assert [each.reason for each in planned.differences] == [
            "The 'name' of a message is not read.",
            "Its 'config' is not read.",
        ]

    def test_prefix_and_suffix_of_all_tests(self) -> None:
        options = {"options": {"prefix": "<", "suffix": "{{b}}>"}}
        test = build_test({"type": "equals", "value": "x"})
        planned = plan(test, prompts="a", defaultTest=options)
        (run,) = planned.evals[0].runs
        (message,) = run.data_source["input_messages"]["template"]
        assert message["content"] == "<a{{ item.vars.b }}>"


EQUALS = {"type": "equals", "value": "x"}
# Three of them have a million combinations.
HUNDRED = ["a", "b"] * 50
VARIABLES = dict.fromkeys("abc", HUNDRED)
DISTINCT = [build_test(EQUALS | {"metric": str(number)}) for number in range(51)]
LONG = {"vars": {"a": "x" * 10_000}}
# Of 20,000 bytes.
WIDE = {"vars": {"a": "ä" * 10_000}}


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"tests": [build_test(EQUALS, **VARIABLES)]}, "10,000 combinations"),
        ({"tests": [build_test({"type": "regex"}, **VARIABLES)]}, "10,000 combinations"),
        ({"tests": DISTINCT}, "50 different lists"),
        ({"tests": [build_test(EQUALS)] * 2000, "defaultTest": LONG}, "16 MiB"),
        ({"tests": [build_test(EQUALS)] * 1000, "defaultTest": WIDE}, "16 MiB"),
        ({"tests": DISTINCT[:30], "prompts": ["a"] * 40}, "1,000 combinations"),
    ],
)
def test_bounds(config: dict[str, Any], problem: str) -> None:
    with pytest.raises(ImportFault, match=problem):
        plan_promptfoo(config)


def test_a_long_prompt_for_many_models() -> None:
    """Small as a document, and large as the runs that it becomes."""
    config = {"tests": [build_test(EQUALS)], "prompts": "a" * 100_000, "providers": ["b"] * 900}
    task = ImportTask(content=json.dumps(config)).model_dump_json().encode()
    result = ImportResult.model_validate_json(run_import_task(task))
    assert result.plan is None
    assert "evals and runs of more than 4 MiB" in str(result.fault)


def test_a_whole_config() -> None:
    task = ImportTask(content=CONFIG.read_text()).model_dump_json().encode()
    planned = ImportResult.model_validate_json(run_import_task(task)).plan
    assert planned is not None
    assert [len(each.criteria) for each in planned.evals] == [2, 3]
    assert [len(items(planned, number)) for number in (0, 1)] == [2, 2]
    assert [len(each.runs) for each in planned.evals] == [4, 4]
    assert describe(planned.differences) == [
        ("changed", "llm-rubric", 1),
        ("changed", "llm-rubric", 2),
        ("changed", "similar", 1),
        ("left_out", "'evaluateOptions'", 1),
        ("left_out", "javascript", 2),
        ("left_out", "latency", 1),
        ("left_out", "prompt", 1),
        ("left_out", "prompt", 1),
        ("left_out", "provider", 1),
        ("left_out", "regex", 1),
        ("left_out", "test", 1),
        ("left_out", "test", 1),
    ]


def describe(differences: list[Difference]) -> list[tuple[str, str, int]]:
    return sorted((each.outcome.value, each.subject, each.count) for each in differences)


def test_many_differences_are_counted_together() -> None:
    kept = {"type": "equals", "value": "x"}
    odd = [{"type": f"odd-{number}"} for number in range(300)]
    planned = plan(build_test(kept, *odd))
    assert len(planned.differences) == 201
    assert (planned.differences[-1].subject, planned.differences[-1].count) == ("others", 100)
    assert len(planned.differences[-1].places) == 20


def test_places_are_counted_once() -> None:
    """Also those behind the first 20, of which each test here has two."""
    test = build_test(EQUALS, {"type": "regex", "value": "a"}, a=["b", "c"])
    (difference,) = plan(*[test] * 30).differences
    assert (difference.subject, difference.count, len(difference.places)) == ("regex", 30, 20)


def test_without_prompts_a_variable_is_the_prompt() -> None:
    planned = plan_promptfoo({"tests": [build_test(EQUALS, prompt="Hi")]})
    (run,) = planned.evals[0].runs
    (message,) = run.data_source["input_messages"]["template"]
    assert message["content"] == "{{ item.vars.prompt }}"
