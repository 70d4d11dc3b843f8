"""Messages of invalid requests: each names the parameter and what was expected."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app.files.schemas import CreateUpload
from app.graders.schemas import ValidateGrader
from app.jobs.schemas import CreateJob
from app.organization.schemas import CreateProject
from app.wire.encoders import InferenceRequest
from app.wire.engine import ChatCompletionRequest
from app.wire.validation_errors import to_invalid_request

JOB = {"model": "m", "training_file": "f"}
UPLOAD = {"filename": "a", "purpose": "vision", "bytes": 1, "mime_type": "text/plain"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
TITLE = "Invalid 'name': expected 1 to 256 characters, without line breaks and other control"
GRADERS = (
    "'string_check', 'text_similarity', 'score_model', 'python', 'classification', 'translation', "
    "'multi'"
)


def message_of(kind: type[BaseModel], body: Any) -> str:
    with pytest.raises(ValidationError) as raised:
        kind.model_validate(body)
    return to_invalid_request(raised.value.errors(), body=body).message


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        (
            CreateJob,
            {**JOB, "seed": float(2**64)},
            "Invalid 'seed': expected an integer from 0 to 2147483647, "
            "but got 1.8446744073709552e+19.",
        ),
        (
            CreateUpload,
            {**UPLOAD, "bytes": 1e30},
            "Invalid 'bytes': expected an integer from 0 to 9223372036854775807, but got 1e+30.",
        ),
        (
            ChatCompletionRequest,
            {**CHAT, "seed": 2**64},
            "Invalid 'seed': expected an integer from -9223372036854775808 to "
            "9223372036854775807, but got 18446744073709551616.",
        ),
        (
            ChatCompletionRequest,
            {**CHAT, "logit_bias": {"hello": 1}},
            "Invalid 'logit_bias.hello': expected the id of a token, in digits, as the key, "
            "but got 'hello'.",
        ),
        (
            ChatCompletionRequest,
            {**CHAT, "stream_options": {"include_usage": True}},
            "Invalid 'stream_options': it needs 'stream' to be true.",
        ),
        (
            ChatCompletionRequest,
            {**CHAT, "stream": "yes"},
            "Invalid 'stream': expected true or false, but got 'yes'.",
        ),
        (
            ChatCompletionRequest,
            {**CHAT, "messages": []},
            "Invalid 'messages': expected at least 1 item(s).",
        ),
        (ValidateGrader, {"grader": {}}, "Missing required parameter: 'grader.type'."),
        (
            ValidateGrader,
            {"grader": {"type": "magic"}},
            f"Invalid 'grader.type': expected one of {GRADERS}, but got 'magic'.",
        ),
        (
            ValidateGrader,
            {"grader": {"type": "multi", "graders": {}}},
            "Missing required parameter: 'grader.name'.",
        ),
        (
            ValidateGrader,
            {"grader": {"type": "multi", "name": "m", "graders": {"multi": {"type": "python"}}}},
            "Invalid 'grader.graders.multi.type': this service does not run clients' programs; "
            "use another type of grader, but got 'python'.",
        ),
        (
            CreateUpload,
            {**UPLOAD, "expires_after": {"anchor": "created_at", "seconds": 2.0**70}},
            "Invalid 'expires_after.seconds': expected an integer of 64 bits at most, "
            "but got 1.1805916207174113e+21.",
        ),
        (
            CreateUpload,
            {**UPLOAD, "expires_after": 5},
            "Invalid 'expires_after': expected an object, but got 5.",
        ),
        (CreateProject, {"name": ""}, f"{TITLE} characters, but got ''."),
        (CreateProject, {"name": "a\nb"}, f"{TITLE} characters, but got 'a\\nb'."),
        (CreateProject, {"name": "x" * 257}, f"{TITLE} characters."),
        (
            CreateProject,
            [],
            "The request body must be a JSON object, sent with Content-Type: application/json.",
        ),
    ],
)
def test_message(kind: type[BaseModel], body: Any, message: str) -> None:
    assert message_of(kind, body) == message


@pytest.mark.parametrize(
    ("inputs", "param", "message"),
    [
        (5, "inputs", "Invalid 'inputs': expected a text, an array of texts, or a question and"),
        (None, "inputs", "Invalid 'inputs': expected a text"),
        ([], "inputs", "Invalid 'inputs': expected at least 1 item(s)"),
        (["a", 5], "inputs[1]", "Invalid 'inputs[1]': expected a string, but got 5"),
        ("", "inputs", "Invalid 'inputs': expected at least 1 character(s)"),
        ({"question": "Who?"}, "inputs.context", "Missing required parameter: 'inputs.context'"),
        ({"question": 5, "context": "a"}, "inputs.question", "Invalid 'inputs.question': expected"),
    ],
)
def test_an_error_of_a_union_is_about_what_was_sent(inputs: Any, param: str, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        InferenceRequest.model_validate({"inputs": inputs})
    error = to_invalid_request(raised.value.errors(), body={"inputs": inputs})
    assert error.message.startswith(message)
    assert error.error_param == param
