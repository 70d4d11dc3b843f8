"""Pass-through from the console's scripts to the API: uploads, downloads, streamed answers."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from app.console.api_client import ApiClient, ApiResponse
from app.console.dependencies import ApiDep
from app.errors import NotFound
from app.http.console_cookie import CONSOLE_API_PATH

# Headers of the browser's request that the API reads; never its cookie.
REQUEST_HEADERS = ("content-type", "content-length", "accept", "idempotency-key", "range")
RESPONSE_HEADERS = (
    "content-type",
    "content-length",
    "content-disposition",
    "retry-after",
    "x-request-id",
)

router = APIRouter(prefix=CONSOLE_API_PATH, include_in_schema=False)


@router.api_route("/v1/{path:path}", methods=["GET", "POST", "DELETE"])
async def pass_on(path: str, request: Request, api: ApiDep) -> Response:
    """Call the API with the request's body, as it comes, and stream its response.

    Not the stream of changes, which would outlive the session: pages have live updates of their
    own.
    """
    if path == "changes":
        raise NotFound("The console does not pass this stream on. Use an API key.")
    return await _pass_on(api, f"/v1/{path}", request)


@router.get("/metrics")
async def pass_on_metrics(request: Request, api: ApiDep) -> Response:
    return await _pass_on(api, "/metrics", request)


@router.post("/models/{path:path}")
async def pass_on_inference(path: str, request: Request, api: ApiDep) -> Response:
    """Call Hugging Face's inference API, which encoders answer."""
    return await _pass_on(api, f"/models/{path}", request)


async def _pass_on(api: ApiClient, path: str, request: Request) -> Response:
    chunks = _relay(api, path, request)
    response = await anext(chunks)
    assert isinstance(response, ApiResponse)
    headers = {
        name: response.headers[name] for name in RESPONSE_HEADERS if name in response.headers
    }
    if "attachment" in request.query_params:
        headers.setdefault("content-disposition", "attachment")
    return StreamingResponse(_read(chunks), status_code=response.status, headers=headers)


async def _relay(api: ApiClient, path: str, request: Request) -> AsyncIterator[ApiResponse | bytes]:
    """Yield the response, then its chunks; the call ends when this is closed."""
    headers = {name: request.headers[name] for name in REQUEST_HEADERS if name in request.headers}
    async with api.stream(
        request.method,
        path,
        headers=headers,
        receive=request.receive,
        query_string=request.scope["query_string"],
    ) as response:
        yield response
        async for chunk in response.chunks:
            yield chunk


async def _read(chunks: AsyncIterator[ApiResponse | bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        assert isinstance(chunk, bytes)
        yield chunk
