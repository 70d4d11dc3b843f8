"""Nunjucks templates of promptfoo, as templates of graders: plain variables only."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.graders.schemas import MAX_TEMPLATE_CHARS
from app.graders.template import VARIABLE, RenderedTooLong, Renderer, UnknownVariable

PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[\d{1,6}\])*")
NAME = re.compile(r"\w+")
# Where an item has the variables of its test.
NAMESPACE = "item.vars"


class Untranslatable(ValueError):
    """A template that has no counterpart; the message says why."""


def translate(template: str) -> str:
    """Translate a template, so that its variables are an item's. Raises Untranslatable."""
    for mark in ("{%", "{#"):
        if mark in template:
            raise Untranslatable("It uses statements or comments of Nunjucks.")
    if "{{" in VARIABLE.sub("", template):
        raise Untranslatable("It has a variable that is not closed.")
    return VARIABLE.sub(lambda match: f"{{{{ {NAMESPACE}.{_read_path(match[1])} }}}}", template)


def _read_path(expression: str) -> str:
    path = expression.strip()
    if PATH.fullmatch(path) is None:
        raise Untranslatable("It uses expressions or filters of Nunjucks, not only variables.")
    if path.startswith("env."):
        raise Untranslatable("It reads variables of the environment.")
    return path


def find_names(template: str) -> Iterator[str]:
    """Find the names of the variables of a template that was not translated yet."""
    for match in VARIABLE.finditer(template):
        name = NAME.match(match[1].strip())
        if name is not None:
            yield name[0]


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Render a template with the variables of a test. Raises Untranslatable."""
    if "{" not in template:
        return template
    translated = translate(template)
    renderer = Renderer({"item": {"vars": variables}, "sample": {}}, MAX_TEMPLATE_CHARS)
    try:
        return renderer.render(translated)
    except UnknownVariable as error:
        raise Untranslatable("It names a variable that the test does not have.") from error
    except RenderedTooLong as error:
        reason = f"It has more than {MAX_TEMPLATE_CHARS:,} characters when it is rendered."
        raise Untranslatable(reason) from error
