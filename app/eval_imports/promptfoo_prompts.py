"""Prompts and providers of a promptfoo config, as the messages and models of runs."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.eval_imports.documents import parse_document
from app.eval_imports.nunjucks import Untranslatable, find_names, translate
from app.eval_imports.plan import DifferenceList, ImportFault
from app.eval_imports.promptfoo_assertions import read_model_name

# A text that is not a prompt, but names where one is.
ELSEWHERE = re.compile(
    r"(?:exec:|[a-z]+://)\S.*|\S+\.(?:txt|md|j2|json|jsonl|ya?ml|csv|[cm]?[jt]s|py|sh|rb|pl)"
)
PROMPT_KEYS = {"id", "label", "prompt", "raw"}
MESSAGE_KEYS = {"role", "content"}
DEFAULT_PROMPT = "{{prompt}}"
MAX_LABEL_CHARS = 80
SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_completion_tokens",
    "seed": "seed",
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages as templates of an item, and the names of the variables in them."""

    label: str
    messages: list[dict[str, str]]
    names: set[str]
    place: str


@dataclass(frozen=True, slots=True)
class Provider:
    model: str
    sampling_params: dict[str, Any]


def read_prompts(
    config: Mapping[str, Any], options: Mapping[str, Any], differences: DifferenceList
) -> list[Prompt]:
    """Read the prompts that are in the config itself."""
    given = config.get("prompts", DEFAULT_PROMPT)
    prompts = []
    for number, each in enumerate(given if isinstance(given, list) else [given]):
        place = f"prompts[{number}]"
        try:
            prompts.append(_read_prompt(each, options, differences, place))
        except Untranslatable as error:
            differences.leave_out("prompt", str(error), place)
    return prompts


def _read_prompt(
    given: Any, options: Mapping[str, Any], differences: DifferenceList, place: str
) -> Prompt:
    fields = given if isinstance(given, dict) else {"raw": given}
    text = fields.get("raw") or fields.get("prompt") or fields.get("id")
    if not isinstance(text, str):
        raise Untranslatable("It is no text.")
    if ELSEWHERE.fullmatch(text.strip()):
        raise Untranslatable("It is in another file or service. Write it into the config.")
    messages = _read_messages(text, differences, place)
    ends = {name: options.get(name) for name in ("prefix", "suffix")}
    if messages is None:
        whole = f"{ends['prefix'] or ''}{text}{ends['suffix'] or ''}"
        messages = [("user", whole)]
    elif any(ends.values()):
        raise Untranslatable("It has messages, and a prefix or suffix.")
    for name in fields:
        if name not in PROMPT_KEYS:
            differences.leave_out("prompt", f"Its '{name[:40]}' is not read.", place)
    label = fields.get("label")
    first_line = messages[-1][1].strip().partition("\n")[0]
    return Prompt(
        label=(label if isinstance(label, str) else first_line)[:MAX_LABEL_CHARS],
        messages=[{"role": role, "content": translate(content)} for role, content in messages],
        names={name for _, content in messages for name in find_names(content)},
        place=place,
    )


def _read_messages(
    text: str, differences: DifferenceList, place: str
) -> list[tuple[str, str]] | None:
    """Read a prompt that is a list of messages; None if it is a text."""
    if not text.lstrip().startswith(("[", "- role")):
        return None
    try:
        document = parse_document(text)
    except ImportFault:
        return None
    if not isinstance(document, list) or not all(
        isinstance(each, dict) and isinstance(each.get("role"), str) for each in document
    ):
        return None
    if not all(isinstance(each.get("content"), str) for each in document):
        raise Untranslatable("A message has content that is no text.")
    for each in document:
        for name in each:
            if name not in MESSAGE_KEYS:
                reason = f"The '{name[:40]}' of a message is not read."
                differences.leave_out("prompt", reason, place)
    return [(each["role"], each["content"]) for each in document]


def read_providers(config: Mapping[str, Any], differences: DifferenceList) -> list[Provider]:
    """Read the models that the config runs."""
    given = config.get("providers", config.get("targets")) or []
    providers = []
    for number, each in enumerate(given if isinstance(given, list) else [given]):
        place = f"providers[{number}]"
        for id_, fields in _list_providers(each):
            if not isinstance(id_, str) or ELSEWHERE.fullmatch(id_):
                reason = "It is no model that this service could have."
                differences.leave_out("provider", reason, place)
                continue
            providers.append(_read_provider(id_, fields, differences, place))
    return providers


def _list_providers(given: Any) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    if not isinstance(given, dict):
        yield given, {}
    elif "id" in given:
        yield given["id"], given
    else:
        yield from ((id_, each if isinstance(each, dict) else {}) for id_, each in given.items())


def _read_provider(
    id_: str, fields: Mapping[str, Any], differences: DifferenceList, place: str
) -> Provider:
    params = {}
    config = fields.get("config")
    for name, value in (config if isinstance(config, dict) else {}).items():
        if name in SAMPLING:
            params[SAMPLING[name]] = value
        else:
            differences.leave_out("provider", f"Its config '{name[:40]}' is not read.", place)
    for name in fields:
        if name not in ("id", "label", "config"):
            differences.leave_out("provider", f"Its '{name[:40]}' is not read.", place)
    return Provider(read_model_name(id_), params)
