"""Imports of transformers' models: first in a process, and in a thread of one that uses others."""

import subprocess
import sys

import pytest

FIRST = "import worker.light_imports"
LATER = """
import importlib
from concurrent.futures import ThreadPoolExecutor
from transformers import AutoTokenizer, PreTrainedConfig
from transformers.utils import is_scipy_available
is_scipy_available()
ThreadPoolExecutor().submit(importlib.import_module, "worker.light_imports").result()
"""


@pytest.mark.parametrize("code", [FIRST, LATER])
def test_models_can_be_used(code: str) -> None:
    check = "from transformers import AutoModel, AutoModelForCausalLM, BertModel, LlamaForCausalLM"
    subprocess.run([sys.executable, "-c", f"{code}\n{check}"], check=True)


def test_training_has_neither_scipy_nor_boto3() -> None:
    code = "import sys, worker.training.builder; print({'boto3', 'scipy'} & {*sys.modules})"
    command = [sys.executable, "-c", f"{FIRST}\n{code}"]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "set()"
