"""Imports of transformers' models: first in a process, and in a thread of one that uses others."""

import subprocess
import sys

import pytest

FIRST = "from worker.light_imports import import_models; import_models()"
LATER = """
from concurrent.futures import ThreadPoolExecutor
from transformers import AutoTokenizer, PreTrainedConfig
from transformers.utils import is_scipy_available
is_scipy_available()
from worker.light_imports import import_models
ThreadPoolExecutor().submit(import_models).result()
"""


@pytest.mark.parametrize("code", [FIRST, LATER])
def test_models_can_be_used(code: str) -> None:
    check = "from transformers import AutoModel, AutoModelForCausalLM, BertModel, LlamaForCausalLM"
    subprocess.run([sys.executable, "-c", f"{code}\n{check}"], check=True)


def test_training_has_no_unused_packages() -> None:
    code = f"""
import sys
import worker.training.process, worker.training.encoders.builder
{FIRST}
import peft
print({{"boto3", "rich", "scipy"}} & {{*sys.modules}})
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "set()"


def test_training_imports_neither_an_engine_nor_all_models_first() -> None:
    """The engine compares the trained model, at the end of some jobs; its modules take long."""
    code = """
import sys
import worker.training.process
engine = {"llguidance", "prometheus_client", "pydantic", "worker.inference.engine"}
print(sorted((engine | {"transformers.models"}) & {*sys.modules}))
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"


def test_training_is_imported_without_garbage_collection() -> None:
    code = """
import gc, sys
gc.set_debug(gc.DEBUG_STATS)
from worker.training.__main__ import main
sys.argv = ["training", "/missing"]
main()
"""
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    # It has come as far as to read its folder.
    assert "/missing/spec.json" in run.stderr
    assert run.stderr.count("collecting generation") < 20
