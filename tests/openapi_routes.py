"""Every route of the API and every id it takes, read from the OpenAPI document.

For tests that must hold for all routes. New routes are included automatically; a new parameter
fails those tests until it is classified here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

Location = Literal["path", "query", "body"]
Schema = Mapping[str, Any]

# Kinds of ids by parameter or field name; `tests.tenants` creates one of each kind.
ID_KINDS = {
    "alias": "alias",
    "api_key_id": "key",
    "batch_id": "batch",
    "completion_id": "stored_completion",
    "conversation": "conversation",
    "conversation_id": "conversation",
    "previous_response_id": "response",
    "response_id": "response",
    "endpoint_id": "webhook_endpoint",
    "eval_id": "eval",
    "output_item_id": "output_item",
    "run_id": "eval_run",
    "data_source.source.id": "eval_file",
    "file_id": "file",
    "item_id": "conversation_item",
    "input_file_id": "file",
    "fine_tuned_model_checkpoint": "model",
    "job_id": "job",
    "judge_model": "model",
    "key_id": "admin_key",
    "model": "model",
    "part_ids": "part",
    "permission_id": "permission",
    "project_id": "project",
    "project_ids": "project",
    "service_account_id": "service_account",
    "sweep_id": "sweep",
    "test_file": "file",
    "training_file": "file",
    "upload_id": "upload",
    "validation_file": "file",
}
# Kinds of the id in `after`, by list.
CURSOR_KINDS = {
    "/v1/responses/{response_id}/input_items": "response_item",
    "/v1/chat/completions": "stored_completion",
    "/v1/chat/completions/{completion_id}/messages": "stored_message",
    "/v1/batches": "batch",
    "/v1/conversations/{conversation_id}/items": "conversation_item",
    "/v1/evals": "eval",
    "/v1/evals/{eval_id}/runs": "eval_run",
    "/v1/evals/{eval_id}/runs/{run_id}/output_items": "output_item",
    "/v1/files": "file",
    "/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions": "permission",
    "/v1/fine_tuning/jobs": "job",
    "/v1/fine_tuning/jobs/{job_id}/attempts": "attempt",
    "/v1/fine_tuning/jobs/{job_id}/checkpoints": "checkpoint",
    "/v1/fine_tuning/jobs/{job_id}/events": "event",
    "/v1/fine_tuning/sweeps": "sweep",
    "/v1/fine_tuning/sweeps/{sweep_id}/events": "sweep_event",
    "/v1/organization/admin_api_keys": "admin_key",
    "/v1/organization/audit_logs": "audit_log",
    "/v1/organization/projects": "project",
    "/v1/organization/projects/{project_id}/api_keys": "key",
    "/v1/organization/projects/{project_id}/service_accounts": "service_account",
    "/v1/webhook_endpoints": "webhook_endpoint",
    "/v1/webhook_endpoints/{endpoint_id}/deliveries": "delivery",
}
# Parameters that are not ids of objects that belong to a tenant.
NON_ID_PARAMETERS = frozenset(
    (
        "include_obfuscation item_reference order_by personality role starting_after status stream "
        "access_programs annotations background_options correction effort encrypted_content image "
        "include instructions output parsed parsed_arguments rating "
        "actor_emails actor_ids event_types resource_ids tenant_only "
        "effective_at[gt] effective_at[gte] effective_at[lt] effective_at[lte] "
        "created_at[gt] created_at[gte] created_at[lt] created_at[lte] method search "
        "after_step max_points "
        "api_key_ids batch bucket_width end_time group_by line_items models page project_ids "
        "start_time user_ids "
        "arguments audio calculate_output completion_window content context data description "
        "endpoint entity evaluation_metric file filename format "
        "frequency_penalty function_call functions hours ignore_labels image_tag include_archived "
        "input inputs integrations label labels limit logit_bias logprobs max_completion_tokens "
        "max_tokens md5 messages metadata metric mime_type modalities model_sample moderation n "
        "name order "
        "long_rows max_seq_length method split "
        "owner_project_access parallel_tool_calls passing_labels prediction presence_penalty "
        "project "
        "prompt prompt_cache_key prompt_cache_options prompt_cache_retention "
        "purpose question reasoning_content reasoning_effort reference refusal response_format "
        "safety_identifier scopes seed service_tier source stop store "
        "stream_options suffix tags target_modules temperature test_metrics text tool_choice "
        "tools top_logprobs top_p url user verbosity web_search_options"
    ).split()
)
# Their `after` is a position in the object in the path, which is no id.
POSITION_PATHS = ("/v1/files/{file_id}/preview",)
# Streams of server-sent events without an end.
ENDLESS_PATHS = ("/v1/changes",)
# Their ids are filters: those of others yield what unknown ones do, which is nothing
# (tests/app/usage/test_routes.py, tests/app/organization/test_audit_logs.py).
FILTERED_PATHS = (
    "/v1/organization/usage/",
    "/v1/organization/costs",
    "/v1/organization/audit_logs",
)
# A name by which the project's own stored completions are chosen.
FILTER_FIELDS = ("data_source.source.model",)
# Ids that are looked up only within the object in the path.
NESTED_IDS = (
    # The other form of an id that is classified above.
    "conversation.id",
    "feedback.correction.tool_calls.id",
    "feedback.id",
    "input.call_id",
    "input.id",
    "items.call_id",
    "items.id",
    "messages.tool_call_id",
    "messages.tool_calls.id",
    "testing_criteria.id",
)
# Values where the schema alone does not suffice for a valid body.
SAMPLE_VALUES: dict[str, Any] = {
    # A document of evals to import.
    "content": '{"tests": [{"assert": [{"type": "equals", "value": "x"}]}]}',
    "endpoint": "/v1/chat/completions",
    "expires_in_seconds": 60,
    "feedback": [{"id": "x", "label": "a"}],
    "input": "Hi",
    "messages": [{"role": "user", "content": "Hi"}],
    "prompt": "Hi",
    "metric": "valid_loss",
    "purpose": "fine-tune",
    "space": {"learning_rate_multiplier": {"values": [1]}},
}


@dataclass(frozen=True)
class IdSlot:
    """A place in a request that takes an id of a kind; `name` is a dotted path in bodies."""

    location: Location
    name: str
    kind: str


@dataclass(frozen=True)
class Operation:
    """One method of one path. `keys` are its security schemes, as named in the document."""

    method: str
    path: str
    keys: tuple[str, ...]
    id_slots: tuple[IdSlot, ...]
    unknown_parameters: tuple[str, ...]
    body: Schema | None
    media_type: str | None
    schemas: Schema = field(repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def request(self, http: httpx.Client, ids: Mapping[IdSlot, str]) -> httpx.Response:
        """Send it with these ids and sample values.

        Optional body fields without an id are omitted.
        """
        path = self.path
        query = {}
        for slot, value in ids.items():
            if slot.location == "path":
                path = path.replace("{" + slot.name + "}", value)
            elif slot.location == "query":
                query[slot.name] = value
        return http.request(self.method, path, params=query, **self._content(ids))

    def _content(self, ids: Mapping[IdSlot, str]) -> dict[str, Any]:
        if self.body is None:
            return {}
        given = {slot.name: value for slot, value in ids.items() if slot.location == "body"}
        body = _BodyBuilder(self.schemas, given).make(self.body, "")
        if self.media_type == "multipart/form-data":
            files = {name: ("a.jsonl", b"{}") for name in ("file", "data") if name in body}
            return {"data": {k: v for k, v in body.items() if k not in files}, "files": files}
        return {"json": body}


def operations(document: Schema) -> list[Operation]:
    """The operations that require a key, and so all with access to a tenant's objects."""
    return [
        _operation(method.upper(), path, described, document["components"]["schemas"])
        for path, methods in document["paths"].items()
        for method, described in methods.items()
        if path.startswith(("/v1/", "/models/"))
    ]


def _operation(method: str, path: str, described: Schema, schemas: Schema) -> Operation:
    media = described.get("requestBody", {}).get("content", {})
    media_type = next(iter(media), None)
    body = None if media_type is None else media[media_type]["schema"]
    places = [
        (parameter["in"], parameter["name"])
        for parameter in described.get("parameters", ())
        if parameter["in"] != "header"
    ]
    # Path parameters in the order of the path, since an id's parents precede it.
    places.sort(key=lambda place: path.find("{" + place[1] + "}"))
    places += [("body", name) for name in dict.fromkeys(_string_fields(body or {}, "", schemas))]
    slots = [IdSlot(place, name, kind) for place, name in places if (kind := _kind(path, name))]
    known = {slot.name for slot in slots}
    return Operation(
        method=method,
        path=path,
        keys=tuple(key for one in described.get("security", ()) for key in one),
        id_slots=tuple(slots),
        unknown_parameters=tuple(
            name
            for _, name in places
            if name not in known
            and not _is_plain(name)
            and not (name == "after" and path in POSITION_PATHS)
        ),
        body=body,
        media_type=media_type,
        schemas=schemas,
    )


def _is_plain(name: str) -> bool:
    return name in (*NESTED_IDS, *FILTER_FIELDS) or name.split(".")[-1] in NON_ID_PARAMETERS


def _kind(path: str, name: str) -> str | None:
    if name in ("after", "before"):
        return CURSOR_KINDS.get(path)
    if path.startswith(FILTERED_PATHS) or name in FILTER_FIELDS:
        return None
    return ID_KINDS.get(name, ID_KINDS.get(name.split(".")[-1]))


def _string_fields(schema: Schema, name: str, schemas: Schema) -> Iterator[str]:
    """The dotted paths of all fields that can contain a string, at any depth."""
    schema = _resolve(schema, schemas)
    options = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    for option in options:
        yield from _string_fields(option, name, schemas)
    for inner, described in schema.get("properties", {}).items():
        yield from _string_fields(described, f"{name}.{inner}".lstrip("."), schemas)
    if "items" in schema:
        yield from _string_fields(schema["items"], name, schemas)
    is_constant = "enum" in schema or "const" in schema
    accepts_anything = "type" not in schema and not options
    if name and not is_constant and (accepts_anything or schema.get("type") == "string"):
        yield name


def _resolve(schema: Schema, schemas: Schema) -> Schema:
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
    return schema


def _options_of(schema: Schema) -> list[Schema]:
    return [*schema.get("anyOf", ()), *schema.get("oneOf", ())] or [schema]


@dataclass(frozen=True)
class _BodyBuilder:
    """Builds the smallest body of a schema that contains the given values, by dotted path."""

    schemas: Schema
    given: Mapping[str, str]

    def make(self, schema: Schema, name: str) -> Any:
        if self._has_sample(schema, name):
            return SAMPLE_VALUES[name]
        schema = _resolve(schema, self.schemas)
        options = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
        if options:
            return self.make(self._best(options, name), name)
        if schema.get("type") == "array":
            return [self.make(schema["items"], name)]
        if schema.get("type") == "object":
            return self._object(schema, name)
        if name in self.given:
            return self.given[name]
        if "const" in schema or "enum" in schema:
            return schema.get("const", schema.get("enum", [None])[0])
        if schema.get("type") in ("integer", "number"):
            return schema.get("minimum", 1)
        return "text"

    def _best(self, options: list[Schema], name: str) -> Schema:
        """The option that can contain a given value, or else the first that is not null."""
        for option in options:
            properties = _resolve(option, self.schemas).get("properties", {})
            inside = [f"{name}.{inner}".lstrip(".") for inner in properties]
            if any(f"{one}.".startswith(f"{place}.") for one in self.given for place in inside):
                return option
        return next(option for option in options if option.get("type") != "null")

    def _object(self, schema: Schema, name: str) -> dict[str, Any]:
        required = schema.get("required", ())
        return {
            inner: self.make(described, f"{name}.{inner}".lstrip("."))
            for inner, described in schema.get("properties", {}).items()
            if inner in required or self._is_wanted(described, f"{name}.{inner}".lstrip("."))
        }

    def _is_wanted(self, schema: Schema, name: str) -> bool:
        inside = (one for one in (*self.given, *SAMPLE_VALUES) if one.startswith(f"{name}."))
        return name in self.given or any(inside) or self._has_sample(schema, name)

    def _has_sample(self, schema: Schema, name: str) -> bool:
        """Fields of one name in several bodies differ: a list is a sample of lists only."""
        types = [_resolve(option, self.schemas).get("type") for option in _options_of(schema)]
        is_list = isinstance(SAMPLE_VALUES.get(name), list)
        is_possible = types != ["null"] and (not is_list or "array" in types)
        return name in SAMPLE_VALUES and is_possible
