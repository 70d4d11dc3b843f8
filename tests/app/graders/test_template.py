"""Templates of graders, as OpenAI documents them."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from app.graders.template import UnknownVariable, build_variables, render
from tests.growth import assert_linear

ITEM = {"answer": "Paris", "choices": [{"text": "a"}], "count": 3, "none": None}


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
