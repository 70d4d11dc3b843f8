"""Stability of auto hyperparameters: small noisy files, many seeds, models of several families.

    python bench/stability.py [--family llama|qwen3|gemma3] [--hidden-size 64] [--layers 2]
                              [--rows 50] [--seeds 20] [--noise 0.2] [--threads 2]

Each seed trains a model of random weights on its own file: questions with the answers of a rule,
of which the share `--noise` is wrong. All hyperparameters are auto. Prints one JSON line per seed,
with the exit code of its first attempt (15 is a divergence) and its losses, and a summary.
"""

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from worker.run_folder import ExitCode, Metrics, RunFolder, RunSpec, Started
from worker.training.attempt import run_attempt

CONFIGS: dict[str, type[PretrainedConfig]] = {
    "llama": LlamaConfig,
    "qwen3": Qwen3Config,
    "gemma3": Gemma3TextConfig,
}
HEAD_DIM = 64
CONTEXT_LENGTH = 256
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
ANSWERS = ["refund", "delivery", "account", "password", "invoice"]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build a tokenizer whose tokens are bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL_TOKENS[0],
        eos_token=SPECIAL_TOKENS[2],
        additional_special_tokens=SPECIAL_TOKENS[1:2],
        chat_template=TEMPLATE,
    )


def write_model(folder: Path, family: str, hidden_size: int, layers: int) -> None:
    """Write a model of random weights and its tokenizer, in Hugging Face's layout."""
    tokenizer = build_tokenizer()
    config = CONFIGS[family](
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 2,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden_size // HEAD_DIM),
        num_key_value_heads=max(1, hidden_size // HEAD_DIM // 4),
        head_dim=HEAD_DIM,
        max_position_embeddings=CONTEXT_LENGTH,
        pad_token_id=0,
        eos_token_id=2,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def build_rows(seed: int, rows: int, noise: float) -> list[dict[str, Any]]:
    """Build chats about topics; a noisy row has the answer of another topic."""
    source = random.Random(seed)
    chats = []
    for number in range(rows):
        topic = source.choice(ANSWERS)
        answer = source.choice(ANSWERS) if source.random() < noise else topic
        question = f"{source.choice(['My', 'A', 'The'])} {topic} question {number}"
        chats.append(
            {
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                ]
            }
        )
    return chats


def train(folder: RunFolder, model: dict[str, Any], seed: int, threads: int) -> dict[str, Any]:
    """Train one file; return the exit code of the attempt and what it reported."""
    folder.write_spec(
        RunSpec(
            job_id=f"seed-{seed}",
            attempt=1,
            model=model,
            model_cache=str(folder.path / "cache"),
            method="supervised",
            hyperparameters={},
            seed=seed,
            base_model=model["id"],
            threads=threads,
        )
    )
    code = run_attempt(folder)
    events = [event for event, _ in folder.read_events()]
    started = next(event for event in events if isinstance(event, Started))
    losses = [event.values["train_loss"] for event in events if isinstance(event, Metrics)]
    return {
        "seed": seed,
        "exit_code": int(code),
        "learning_rate": started.hyperparameters["learning_rate"],
        "batch_size": started.hyperparameters["batch_size"],
        "steps": len(losses),
        "first_loss": round(statistics.fmean(losses[:3]), 3),
        "last_loss": round(statistics.fmean(losses[-3:]), 3),
        "curve": [round(loss, 3) for loss in losses[:: max(1, len(losses) // 12)]],
    }


def summarize(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "runs": len(results),
        "diverged": sum(result["exit_code"] == ExitCode.DIVERGED for result in results),
        "failed": sum(
            result["exit_code"] not in (ExitCode.DONE, ExitCode.DIVERGED) for result in results
        ),
        "learned": sum(result["last_loss"] < result["first_loss"] for result in results),
        "mean_last_loss": round(statistics.fmean(r["last_loss"] for r in results), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=CONFIGS, default="llama")
    for name, default in (("hidden-size", 64), ("layers", 2), ("rows", 50), ("seeds", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--noise", type=float, default=0.2)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as path:
        write_model(Path(path, "model"), options.family, options.hidden_size, options.layers)
        model = {
            "id": options.family,
            "source": f"path:{path}/model",
            "kind": "causal",
            "methods": ["supervised"],
            "context_length": CONTEXT_LENGTH,
        }
        for seed in range(options.seeds):
            folder = RunFolder(Path(path, f"run-{seed}"))
            folder.path.mkdir()
            rows = build_rows(seed, options.rows, options.noise)
            folder.train_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
            results.append(train(folder, model, seed, options.threads))
            print(json.dumps(results[-1]), flush=True)
    print(json.dumps(summarize(results)))


if __name__ == "__main__":
    main()
