"""The misbehaving project: one process for each attack, which runs until it is ended.

    python -m bench.neighbours.attacks NAME URL KEY

It runs at a lower CPU priority than the service, since its clients would be other machines.
"""

import asyncio
import json
import os
import random
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

CHAT_MODEL = "smollm2-135m-instruct"
ENCODER = "all-minilm-l6-v2"
PROMPT_WORD = "tempest "
ROW = {"messages": [{"role": "user", "content": "Hi " * 40}, {"role": "assistant", "content": "a"}]}
LINE = json.dumps(ROW).encode() + b"\n"
BOUNDARY = "neighbour"
DRIBBLE_BYTES_PER_SECOND = 9_000

Attack = Callable[[httpx.AsyncClient], Awaitable[object]]


def chat(messages: list[dict[str, str]], max_tokens: int) -> Attack:
    """One chat completion."""
    body = {"model": CHAT_MODEL, "messages": messages, "max_tokens": max_tokens}
    return lambda client: client.post("/v1/chat/completions", json=body)


async def leave(client: httpx.AsyncClient) -> httpx.Response:
    """Begin a long stream, and disconnect after a random number of its tokens."""
    body = {
        "model": CHAT_MODEL,
        "messages": [user("Tell a long story.")],
        "max_tokens": 400,
        "stream": True,
    }
    events = random.randrange(6)
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            events -= line.startswith("data: ")
            if events < 0:
                break
    return response


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def upload(data: bytes) -> Attack:
    return lambda client: client.post(
        "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("t.jsonl", data)}
    )


def embed(texts: int) -> Attack:
    body = {"model": ENCODER, "input": [f"{PROMPT_WORD * 40}{n}" for n in range(texts)]}
    return lambda client: client.post("/v1/embeddings", json=body)


def grade(size: int) -> Attack:
    grader = {
        "type": "text_similarity",
        "name": "similarity",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "evaluation_metric": "fuzzy_match",
    }
    text = "".join(random.Random(1).choices("abcdefgh ", k=size))
    body = {"grader": grader, "model_sample": text, "item": {"answer": text[::-1]}}
    return lambda client: client.post("/v1/fine_tuning/alpha/graders/run", json=body)


async def dribble(client: httpx.AsyncClient) -> None:
    """Upload slowly, in a chunked body, for ever."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="t.jsonl"\r\n\r\n'
    )

    async def body() -> Any:
        yield head.encode()
        while True:
            yield LINE * (DRIBBLE_BYTES_PER_SECOND // len(LINE))
            await asyncio.sleep(1)

    content_type = f"multipart/form-data; boundary={BOUNDARY}"
    await client.post("/v1/files", content=body(), headers={"Content-Type": content_type})


async def hang_webhooks(client: httpx.AsyncClient) -> None:
    """Register endpoints that accept and never respond, and end jobs, each an event for all."""
    server = await asyncio.start_server(lambda _, __: asyncio.sleep(3600), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for number in range(20):
        endpoint = {
            "name": f"e{number}",
            "url": f"http://127.0.0.1:{port}/{number}",
            "event_types": ["fine_tuning.job.cancelled"],
        }
        await client.post("/v1/webhook_endpoints", json=endpoint)
    file = (await upload(LINE * 12)(client)).json()["id"]  # type: ignore[attr-defined]
    while True:
        await cancel_a_job(client, file)
        await asyncio.sleep(0.2)


async def cancel_a_job(client: httpx.AsyncClient, file: str) -> None:
    job = await client.post(
        "/v1/fine_tuning/jobs", json={"model": CHAT_MODEL, "training_file": file}
    )
    await client.post(f"/v1/fine_tuning/jobs/{job.json()['id']}/cancel")


async def train(client: httpx.AsyncClient) -> None:
    """Queue long jobs."""
    file = (await upload(LINE * 2000)(client)).json()["id"]  # type: ignore[attr-defined]
    hyperparameters = {"n_epochs": 20, "batch_size": 1}
    for _ in range(3):
        method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
        body = {"model": CHAT_MODEL, "training_file": file, "method": method}
        await client.post("/v1/fine_tuning/jobs", json=body)
    await asyncio.sleep(3600)


async def validate(client: httpx.AsyncClient) -> None:
    """Create jobs on a large file, which the io process checks before they are queued."""
    file = (await upload(LINE * 40_000)(client)).json()["id"]  # type: ignore[attr-defined]
    while True:
        await cancel_a_job(client, file)


# The attack of each pool, and how many requests of it are in flight.
ATTACKS: Mapping[str, tuple[Attack, int]] = {
    "API places": (lambda client: client.get("/v1/files", params={"limit": 100}), 500),
    "upload threads": (dribble, 70),
    "validation processes": (upload(LINE * (2**20 // len(LINE))), 24),
    "graders": (grade(60_000), 24),
    "engine slots": (chat([user("Tell a long story.")], 400), 40),
    "engine steps, clients that leave": (leave, 40),
    "engine steps, prompts of 10 MB": (chat([user("tell me more " * 800_000)], 1), 4),
    "engine prefill": (chat([user(PROMPT_WORD * 3000)], 1), 40),
    "chat rendering": (chat([user("")] * 700, 1), 40),
    "encoder slices": (embed(1500), 4),
    "webhook threads": (hang_webhooks, 1),
    "io tasks": (validate, 4),
    "trainers": (train, 1),
}


async def run(name: str, url: str, key: str) -> None:
    """Keep the attack's requests in flight; what is refused is sent again after a moment."""
    attack, concurrency = ATTACKS[name]
    limits = httpx.Limits(max_connections=None)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=None, limits=limits
    ) as client:
        await asyncio.gather(*(_repeat(attack, client) for _ in range(concurrency)))


async def _repeat(attack: Attack, client: httpx.AsyncClient) -> None:
    while True:
        try:
            response = await attack(client)
        except httpx.TransportError:
            response = None
        if not isinstance(response, httpx.Response) or response.status_code in (429, 503):
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    os.nice(10)
    asyncio.run(run(*sys.argv[1:]))
