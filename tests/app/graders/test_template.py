"""Templates of graders, as OpenAI documents them."""

import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from app.graders.template import (
    RenderedTooLong,
    Renderer,
    UnknownVariable,
    build_variables,
)
from tests.growth import assert_linear

MAX_CHARS = 2**24
ITEM = {"answer": "Paris", "choices": [{"text": "a"}], "count": 3, "none": None}


def render(template: str, variables: dict[str, Any], max_chars: int = MAX_CHARS) -> str:
    return Renderer(variables, max_chars).render(template)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{item.answer}}!", "Paris!"),
        ("{{ item.choices[0].text }}{{item.count}}", "a3"),
        ("{{item.choices}}", '[{"text": "a"}]'),
        ("{{sample.output_json.city}} of {{sample.output_text}}", 'Rome of {"city": "Rome"}'),
        ("no variable { } {x}", "no variable { } {x}"),
        ("{{ sample.choices[0].message.content }}", '{"city": "Rome"}'),
        ("{{sample.output_tools}}", "[]"),
    ],
)
def test_variables(template: str, text: str) -> None:
    assert render(template, build_variables('{"city": "Rome"}', ITEM)) == text


@pytest.mark.parametrize(
    "name",
    [
        "answer",
        "item.other",
        "item.choices[1]",
        "item.none.x",
        "sample.output_json",
        "sample.choices[1]",
        "sample.output_tools[0].function.name",
        "",
        "item..a",
    ],
)
def test_unknown_variables(name: str) -> None:
    with pytest.raises(UnknownVariable):
        render(f"{{{{{name}}}}}", build_variables("prose", ITEM))


@pytest.mark.parametrize(
    "piece", [" ", "{{", "{{ ", "}}", "{{ }", "{", "{{item", "{{item.answer}}"]
)
def test_a46_work_is_linear(piece: str) -> None:
    variables = build_variables("", ITEM)

    def prepare(size: int) -> Callable[[], None]:
        template = "{{" + piece * (size // len(piece))

        def work() -> None:
            with suppress(UnknownVariable):
                render(template, variables)

        return work

    assert_linear(prepare)


@pytest.mark.parametrize(
    "template",
    [
        "{% for x in item %}{{ x }}{% endfor %}",
        "{{7*7}}",
        "{{''.__class__}}",
        "{{item.__globals__}}",
        "{{item.answer.__class__}}",
        "{{item.answer.upper}}",
        "{{sample.__init__.__globals__}}",
        "{{item.answer|upper}}",
        "{{item.answer.format(1)}}",
        "{{item['answer']}}",
        "{{config}}",
        "{{item.choices[-1]}}",
        "{{item.choices[9999999]}}",
    ],
)
def test_a37_expressions_are_unknown_variables(template: str) -> None:
    with pytest.raises(UnknownVariable):
        render(template, build_variables("prose", ITEM))


@pytest.mark.parametrize(
    "text", ["{% raw %}", "{0.__class__}", "%s%(x)s", "${7*7}", "#{7*7}", "{#x#}", "{" * 10**6]
)
def test_a37_other_syntax_is_literal_text(text: str) -> None:
    assert render(text, build_variables("prose", ITEM)) == text
    assert render("{{item.x}}", {"item": {"x": text}}) == text


def test_a37_a_value_is_not_a_template() -> None:
    item = {"x": "{{item.secret}}", "secret": "s"}
    assert render("{{item.x}}", {"item": item}) == "{{item.secret}}"


@pytest.mark.parametrize("depth", range(100, 1100, 25))
def test_a37_a_deeply_nested_sample_is_text_or_unknown(depth: int) -> None:
    variables = build_variables("[" * depth + "]" * depth, ITEM)
    with suppress(UnknownVariable):
        assert render("{{sample.output_json}}", variables) == "[" * depth + "]" * depth


@pytest.mark.parametrize("value", ["x" * 1000, ["x"] * 200])
def test_a47_what_is_rendered_is_counted_before_it_is_joined(value: Any) -> None:
    template = "{{item.x}}" * 10_000
    renderer = Renderer({"item": {"x": value}}, max_chars=50_000)
    tracemalloc.start()
    with pytest.raises(RenderedTooLong):
        renderer.render(template)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000


def test_a47_the_limit_is_for_all_templates_together() -> None:
    renderer = Renderer({"item": {"x": "abc"}}, max_chars=10)
    assert [renderer.render("{{item.x}}") for _ in range(3)] == ["abc"] * 3
    with pytest.raises(RenderedTooLong):
        renderer.render("{{item.x}}")
