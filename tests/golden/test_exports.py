"""A job on a model of each family: trained, served, exported, and loaded by foreign libraries."""

import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from onnxruntime import InferenceSession
from openai import OpenAI
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    pipeline,
)

from tests.contract.running_stack import (
    ROOT,
    ROWS,
    SYSTEM,
    Stack,
    chat_file,
    run_stack,
    wait_for_job,
)
from tests.contract.test_encoders import LABELLED
from tests.golden.phi3_tokenizer import phi3_config, phi3_tokenizer, silence_bytes
from tests.worker.conftest import tiny_tokenizer
from worker.modeling import choose_dtype

pytestmark = [
    pytest.mark.golden,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]
SIZES: dict[str, Any] = {
    "vocab_size": 263,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 2,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
FAMILIES: dict[str, Callable[[], PretrainedConfig]] = {
    "qwen3": lambda: Qwen3Config(**SIZES, head_dim=16, tie_word_embeddings=True),
    "llama3": lambda: LlamaConfig(**SIZES, rope_parameters=LLAMA3_ROPE),
    "gemma3": lambda: Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=64),
    "phi3": lambda: phi3_config(**SIZES),
    "gpt2": lambda: GPT2Config(
        vocab_size=263, n_positions=512, n_embd=32, n_layer=2, n_head=4, eos_token_id=2
    ),
    "qwen3-moe": lambda: Qwen3MoeConfig(
        **SIZES, head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32
    ),
}
WITH_GGUF = ("qwen3", "llama3", "gemma3", "phi3", "gpt2")
PROMPT = "hello world, what is 12 + 34?"
SUMS = [
    {"prompt": f"hello world, what is {n} + {m}?", "completion": f" it is {n + m}"}
    for n in range(4)
    for m in range(3)
]
NUM_TOKENS = 8
# A busy machine takes many times as long as an idle one; only a job that hangs takes longer.
JOB_SECONDS = 3000
LOGIT_TOLERANCE = 1e-4
# The service computes in bfloat16 where the processor does, foreign libraries in float32.
IS_FLOAT32 = choose_dtype(torch.device("cpu")) == torch.float32
SERVED_TOLERANCE = 1e-4 if IS_FLOAT32 else 6e-2


def make_base(folder: Path, config: PretrainedConfig) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            # Larger than at initialization, so that no two tokens are equally likely.
            parameter.data *= 3
    tokenizer = phi3_tokenizer() if config.model_type == "phi3" else tiny_tokenizer()
    if config.model_type == "gpt2":
        tokenizer.chat_template = None
    if config.model_type == "phi3":
        silence_bytes(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bases")
    entries = [(ROOT / "models.toml").read_text()]
    for name, make_config in FAMILIES.items():
        make_base(root / name, make_config())
        entries.append(
            f'[[model]]\nid = "{name}"\nsource = "path:{root / name}"\nkind = "causal"\n'
            'methods = ["supervised"]\ncontext_length = 512\n'
        )
    (root / "models.toml").write_text("\n".join(entries))
    return root


@pytest.fixture(scope="module")
def stack(bases: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = Path(tempfile.mkdtemp(prefix="luthier-golden-"))
    output = tmp_path_factory.mktemp("luthier") / "up.log"
    with run_stack(home, output, LUTHIER_MODELS_FILE=str(bases / "models.toml")) as running:
        yield running
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def client(stack: Stack) -> OpenAI:
    return OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0, timeout=300)


@pytest.fixture(scope="module")
def models(client: OpenAI) -> dict[str, str]:
    """A fine-tuned model of each family."""
    lines = "\n".join(json.dumps(row) for row in SUMS).encode()
    file = client.files.create(file=("rows.jsonl", lines), purpose="fine-tune")
    method: Any = {
        "type": "supervised",
        "supervised": {
            "hyperparameters": {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 10}
        },
    }
    created = {
        name: client.fine_tuning.jobs.create(model=name, training_file=file.id, method=method)
        for name in FAMILIES
    }
    done = {
        name: wait_for_job(client, job.id, seconds=JOB_SECONDS) for name, job in created.items()
    }
    failed = {name: job.error for name, job in done.items() if job.status != "succeeded"}
    assert failed == {}
    return {name: job.fine_tuned_model or "" for name, job in done.items()}


def export(stack: Stack, model: str, format_: str, folder: Path) -> Path:
    with stack.http() as http:
        response = http.get(f"/v1/models/{model}/export", params={"format": format_}, timeout=590)
    assert response.status_code == 200, response.text
    with tarfile.open(fileobj=io.BytesIO(response.content)) as archive:
        archive.extractall(folder, filter="data")
    (inner,) = folder.iterdir()
    return inner


def generate(model: Any, tokenizer: Any) -> tuple[list[int], list[float]]:
    """Greedy tokens and their log-probabilities, computed without a cache."""
    ids = tokenizer(PROMPT)["input_ids"]
    chosen: list[int] = []
    logprobs: list[float] = []
    for _ in range(NUM_TOKENS):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids + chosen])).logits[0, -1]
        best = logits.float().log_softmax(-1).max(-1)
        logprobs.append(float(best.values))
        chosen.append(int(best.indices))
        if chosen[-1] == tokenizer.eos_token_id:
            break
    return chosen, logprobs


@pytest.mark.parametrize("family", FAMILIES)
def test_foreign_libraries_compute_what_the_service_serves(
    family: str,
    stack: Stack,
    client: OpenAI,
    models: dict[str, str],
    bases: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    model = models[family]
    served = client.completions.create(
        model=model, prompt=PROMPT, max_tokens=NUM_TOKENS, temperature=0, logprobs=1
    ).choices[0]
    assert served.logprobs is not None
    assert served.logprobs.token_logprobs is not None
    base = AutoModelForCausalLM.from_pretrained(bases / family)
    tokenizer = AutoTokenizer.from_pretrained(bases / family)
    untuned = generate(base, tokenizer)
    adapter = export(stack, model, "peft", tmp_path / "peft")
    with_adapter = PeftModel.from_pretrained(base, adapter)
    tuned = generate(with_adapter, tokenizer)
    assert tuned[1] != pytest.approx(untuned[1], abs=1e-3), "training has changed the model"
    assert served.logprobs.token_logprobs == pytest.approx(
        tuned[1][: len(served.logprobs.token_logprobs)], abs=SERVED_TOLERANCE
    )
    merged = AutoModelForCausalLM.from_pretrained(
        export(stack, model, "merged", tmp_path / "whole")
    )
    assert generate(merged, tokenizer) == (tuned[0], pytest.approx(tuned[1], abs=1e-4))
    ids = torch.tensor([tokenizer(PROMPT)["input_ids"]])
    with torch.no_grad():
        difference = (with_adapter(input_ids=ids).logits - merged(input_ids=ids).logits).abs().max()
    served_differences = [
        abs(one - other)
        for one, other in zip(served.logprobs.token_logprobs, tuned[1], strict=False)
    ]
    record_property("differences", {"merged": float(difference), "served": max(served_differences)})
    assert difference <= LOGIT_TOLERANCE


@pytest.mark.parametrize("family", WITH_GGUF)
def test_llama_cpp_writes_the_same_text(
    family: str, stack: Stack, models: dict[str, str], tmp_path: Path
) -> None:
    import xllamacpp

    whole = export(stack, models[family], "merged", tmp_path / "whole")
    tokenizer = AutoTokenizer.from_pretrained(whole)
    expected, _ = generate(AutoModelForCausalLM.from_pretrained(whole), tokenizer)
    parameters = xllamacpp.CommonParams()
    path = export(stack, models[family], "gguf", tmp_path / "gguf") / "model.gguf"
    parameters.model.path = str(path)
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 256, 1, False
    answer: Any = xllamacpp.Server(parameters).handle_completions(
        {"prompt": PROMPT, "max_tokens": NUM_TOKENS, "temperature": 0}
    )
    assert answer["choices"][0]["text"] == decode_after(tokenizer, PROMPT, expected)


def decode_after(tokenizer: Any, prompt: str, chosen: list[int]) -> str:
    """Decode what follows a prompt: alone, some tokenizers would strip its first space."""
    ids = tokenizer(prompt)["input_ids"]
    before, whole = (
        tokenizer.decode(part, skip_special_tokens=True) for part in (ids, ids + chosen)
    )
    return str(whole).removeprefix(before)


def test_a_family_without_gguf_is_a_400(stack: Stack, models: dict[str, str]) -> None:
    with stack.http() as http:
        response = http.get(f"/v1/models/{models['qwen3-moe']}/export", params={"format": "gguf"})
    assert response.status_code == 400, response.text
    assert "Export it as merged" in response.json()["error"]["message"]


@pytest.fixture(scope="module")
def example_model(client: OpenAI) -> str:
    """The bundled chat model, tuned on a dozen chats."""
    file = client.files.create(file=("desk.jsonl", chat_file(ROWS)), purpose="fine-tune")
    block: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}}
    job = client.fine_tuning.jobs.create(
        model="smollm2-135m-instruct", training_file=file.id, method=block
    )
    done = wait_for_job(client, job.id, seconds=JOB_SECONDS)
    assert done.status == "succeeded", done.error
    return done.fine_tuned_model or ""


def test_the_bundled_chat_model_answers_the_same_everywhere(
    stack: Stack, client: OpenAI, example_model: str, tmp_path: Path
) -> None:
    """The base is a quantized file: what is exported whole is what was trained on."""
    messages: Any = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": ROWS[0][0]},
    ]
    served = client.chat.completions.create(
        model=example_model, messages=messages, temperature=0, max_tokens=24
    )
    answer = (served.choices[0].message.content or "").strip()
    assert answer.startswith("desk=")
    whole = export(stack, example_model, "merged", tmp_path / "whole")
    tokenizer = AutoTokenizer.from_pretrained(whole)
    ids = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    merged = AutoModelForCausalLM.from_pretrained(whole)
    output = merged.generate(**ids, max_new_tokens=24, do_sample=False)
    written = tokenizer.decode(output[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    assert written.strip() == answer
    base = AutoModelForCausalLM.from_pretrained(
        stack.home / "cache" / "models" / "smollm2-135m-instruct", dtype=torch.float32
    )
    tuned = PeftModel.from_pretrained(base, export(stack, example_model, "peft", tmp_path / "peft"))
    with torch.no_grad():
        difference = tuned(**ids).logits - merged.float()(**ids).logits
    assert difference.abs().max() < 0.5, "merged weights are rounded to bfloat16"
    path = export(stack, example_model, "gguf", tmp_path / "gguf") / "model.gguf"
    assert run_llama_cpp(path, messages) == answer


def run_llama_cpp(path: Path, messages: Any) -> str:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 512, 1, False
    answer: Any = xllamacpp.Server(parameters).handle_chat_completions(
        {"messages": messages, "max_tokens": 24, "temperature": 0}
    )
    return str(answer["choices"][0]["message"]["content"]).strip()


def test_a_classifier_has_the_same_accuracy_everywhere(
    stack: Stack, client: OpenAI, tmp_path: Path
) -> None:
    """Torch, ONNX in float32, and ONNX with weights of 8 bits: within half a point."""
    lines = "\n".join(json.dumps(row) for row in LABELLED).encode()
    file = client.files.create(file=("labels.jsonl", lines), purpose="fine-tune")
    block: Any = {"type": "classification", "classification": {"hyperparameters": {"n_epochs": 4}}}
    job = client.fine_tuning.jobs.create(
        model="all-minilm-l6-v2", training_file=file.id, method=block
    )
    done = wait_for_job(client, job.id, seconds=JOB_SECONDS)
    assert done.status == "succeeded", done.error
    name = done.fine_tuned_model or ""
    texts = [str(row["text"]) for row in LABELLED]
    with stack.http() as http:
        body = {"model": name, "input": texts}
        served = [item["label"] for item in http.post("/v1/classify", json=body).json()["data"]]
    truth = [row["label"] for row in LABELLED]
    expected = accuracy(served, truth)
    assert expected > 0.9
    folder = export(stack, name, "hf", tmp_path / "hf")
    classify = pipeline("text-classification", model=str(folder), trust_remote_code=True)
    assert [item["label"] for item in classify(texts)] == served
    graphs = export(stack, name, "onnx", tmp_path / "onnx")
    tokenizer = AutoTokenizer.from_pretrained(graphs)
    labels = json.loads((graphs / "config.json").read_bytes())["id2label"]
    inputs = dict(tokenizer(texts, padding=True, truncation=True, return_tensors="np"))
    for graph in ("model.onnx", "model_int8.onnx"):
        (logits,) = InferenceSession(graphs / graph).run(None, inputs)
        found = [labels[str(index)] for index in logits.argmax(-1)]
        assert accuracy(found, truth) == pytest.approx(expected, abs=0.005), graph


def accuracy(found: list[str], truth: list[Any]) -> float:
    return sum(one == other for one, other in zip(found, truth, strict=True)) / len(truth)
