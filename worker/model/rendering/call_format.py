"""The form in which a model writes calls of tools, learned from how its template renders some.

Nothing is decided by a model's name: a call with known names and values is rendered, and the text
around them is what training teaches and what serving recognizes.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import takewhile
from typing import Any

NAMES = ("probe_first", "probe_second")
KEY, OTHER_KEY = "probe_key", "probe_other"
VALUE, OTHER_VALUE = "probe_value", "probe_extra"
NUMBER = 7041
ONE, TWO = {KEY: VALUE}, {KEY: VALUE, OTHER_KEY: OTHER_VALUE}

# Renders an answer with calls, each a name and arguments; None if the template cannot.
RenderCalls = Callable[[Sequence[tuple[str, Mapping[str, Any]]]], str | None]


@dataclass(frozen=True, slots=True)
class Delimiters:
    """Texts around calls.

    opening  before the first call
    between  from one call to the next; None if an answer has one call, or if each has an opening
    closing  after the last call
    gap      white space between two calls, if each has an opening
    """

    opening: str
    between: str | None
    closing: str
    gap: str = "\n"


@dataclass(frozen=True, slots=True)
class ObjectCalls:
    """Calls as JSON objects with a name and arguments, such as Hermes', Qwen's and Llama's.

    `keys` are all keys in order; those that are neither, such as Mistral's "id", have texts.
    """

    delimiters: Delimiters
    name_key: str
    arguments_key: str
    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class NamedCalls:
    """Calls as a name, then one of `middles`, then the arguments as JSON, such as DeepSeek's."""

    delimiters: Delimiters
    middles: Sequence[str]


class NestedForm(StrEnum):
    """How objects and lists are written that are arguments, or parts of one."""

    JSON = "json"
    # An object as the arguments themselves are, in braces; a list in brackets.
    ALIKE = "alike"


@dataclass(frozen=True, slots=True)
class ParameterCalls:
    """Calls as a name, then each argument between delimiters, such as Qwen-Coder's and GLM's.

    Delimiters follow an argument's value. `quote` is around values that are texts, if others have
    none: those are then JSON, or like it.

    first    from the name to the first key
    key_end  from a key to its value
    next     from a value to the next key
    empty    after the name of a call without arguments
    words    true, false and null
    """

    delimiters: Delimiters
    first: str
    key_end: str
    next: str
    empty: str
    quote: str
    words: Sequence[str] = ("true", "false", "null")
    nested: NestedForm = NestedForm.JSON
    # Keys are in the order of their letters, whatever order a call has them in.
    is_sorted: bool = False


CallFormat = ObjectCalls | NamedCalls | ParameterCalls


def find_call_format(render: RenderCalls) -> CallFormat | None:
    """Find the form of calls; None if it is none of the known kinds."""
    one = render([(NAMES[0], ONE)])
    if one is None or one.count(NAMES[0]) != 1 or one.count(KEY) != 1 or one.count(VALUE) != 1:
        return None
    two = render([(NAMES[0], ONE), (NAMES[1], ONE)])
    # Some templates render one call per message.
    two = two if two is not None and NAMES[1] in two else None
    return _find_objects(one, two) or _find_named(one, two) or _find_parameters(one, two, render)


def _find_objects(one: str, two: str | None) -> ObjectCalls | None:
    found = _find_object(one, NAMES[0])
    if found is None:
        return None
    start, end, call = found
    name_key = next(key for key, value in call.items() if value == NAMES[0])
    arguments_key = next(key for key, value in call.items() if value == ONE)
    second = _find_object(two or "", NAMES[1])
    first = _find_object(two or "", NAMES[0])
    between = (two or "")[first[1] : second[0]] if first and second else None
    delimiters = _delimiters(one[:start], between, one[end:])
    return ObjectCalls(delimiters, name_key, arguments_key, tuple(call))


def _find_object(text: str, name: str) -> tuple[int, int, dict[str, Any]] | None:
    """Find the JSON object that has the name and the arguments as values."""
    return next(
        (
            (start, end, value)
            for start, end, value in _iter_objects(text)
            if name in value.values() and ONE in value.values()
        ),
        None,
    )


def _iter_objects(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    decoder = json.JSONDecoder()
    for start in (place for place, char in enumerate(text) if char == "{"):
        try:
            value, end = decoder.raw_decode(text, start)
        except ValueError:
            continue
        yield start, end, value


def _find_named(one: str, two: str | None) -> NamedCalls | None:
    name = one.index(NAMES[0])
    arguments = next((each for each in _iter_objects(one) if each[2] == ONE), None)
    if arguments is None or arguments[0] < name:
        return None
    start, end, _ = arguments
    ends = [each[1] for each in _iter_objects(two or "") if each[2] == ONE]
    between = two[ends[0] : two.index(NAMES[1])] if two and len(ends) == 2 else None
    middle = one[name + len(NAMES[0]) : start]
    return NamedCalls(_delimiters(one[:name], between, one[end:]), [middle])


def _find_parameters(one: str, two: str | None, render: RenderCalls) -> ParameterCalls | None:
    both, none = render([(NAMES[0], TWO)]), render([(NAMES[0], {})])
    number = render([(NAMES[0], {KEY: NUMBER})])
    if both is None or none is None or number is None:
        return None
    opening, first, _ = _split(one, NAMES[0], KEY)
    key_end = _split(number, KEY, str(NUMBER))[1]
    quote = _split(one, KEY, VALUE)[1].removeprefix(key_end)
    between = _split(_split(two, VALUE, "")[2], "", NAMES[1])[1] if two else ""
    closing = _split(one, VALUE, "")[2].removeprefix(quote)
    next = _split(both, VALUE, OTHER_KEY)[1].removeprefix(quote)
    value_end = quote or squeeze(common_prefix([next, closing]))
    if not squeeze(key_end) or not squeeze(closing) or not value_end or len(quote) > 1:
        return None
    calls = ParameterCalls(
        _delimiters(opening, between.removeprefix(quote) or None, closing),
        first=first,
        key_end=key_end,
        next=next,
        empty=_split(none, NAMES[0], "")[2],
        quote=quote,
    )
    return _find_values(calls, render)


def _find_values(calls: ParameterCalls, render: RenderCalls) -> ParameterCalls:
    """Find how a template writes values that are no texts, and in which order."""

    def write(value: Any) -> str | None:
        text = render([(NAMES[0], {KEY: value})])
        rest = (text or "").partition(KEY)[2]
        is_known = rest.startswith(calls.key_end) and rest.endswith(calls.delimiters.closing)
        return (
            rest[len(calls.key_end) :].removesuffix(calls.delimiters.closing) if is_known else None
        )

    # Some templates cannot write a null.
    words = [
        write(value) or word for value, word in ((True, "true"), (False, "false"), (None, "null"))
    ]
    quoted = [f"{calls.quote}{text}{calls.quote}" for text in (VALUE, OTHER_VALUE)]
    first, other = (
        f"{key}{calls.key_end}{text}" for key, text in zip((KEY, OTHER_KEY), quoted, strict=True)
    )
    is_alike = (
        write(TWO) == f"{{{first}{calls.next}{other}}}"
        and write([VALUE, OTHER_VALUE]) == f"[{calls.next.join(quoted)}]"
    )
    reversed_ = render([(NAMES[0], dict(reversed(TWO.items())))]) or OTHER_KEY
    return replace(
        calls,
        words=words,
        nested=NestedForm.ALIKE if is_alike else NestedForm.JSON,
        is_sorted=0 <= reversed_.find(KEY) < reversed_.find(OTHER_KEY),
    )


def _split(text: str, begin: str, end: str) -> tuple[str, str, str]:
    """Split a text into what is before `begin`, from it to `end`, and after `end`.

    An empty `begin` is the text's beginning. An empty `end` follows `begin`.
    """
    before, _, rest = text.partition(begin) if begin else ("", "", text)
    middle, _, after = rest.partition(end) if end else ("", "", rest)
    return before, middle, after


def _delimiters(opening: str, between: str | None, closing: str) -> Delimiters:
    # Each call has delimiters of its own, if what is between two begins as what follows the last.
    if between is None or squeeze(between) != squeeze(closing + opening):
        return Delimiters(opening, between, closing)
    gap = between.removeprefix(closing.rstrip()).removesuffix(opening.lstrip())
    return Delimiters(opening, None, closing, gap)


def common_prefix(texts: Sequence[str]) -> str:
    pairs = zip(*texts, strict=False)
    return "".join(chars[0] for chars in takewhile(lambda chars: len(set(chars)) == 1, pairs))


def squeeze(text: str) -> str:
    """Remove white space, which models write in more than one way around calls."""
    return "".join(text.split())
