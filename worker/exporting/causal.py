"""Whole generative models: the adapter merged into its base model."""

import tempfile
from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from worker.exporting.adapters import write_generative
from worker.exporting.source import ExportSource
from worker.modeling import load_tokenizer


def load_merged(source: ExportSource) -> PreTrainedModel:
    """Load the base model in its own precision, with the adapter merged into its weights."""
    disable_progress_bar()
    base = AutoModelForCausalLM.from_pretrained(
        source.base_folder,
        dtype="auto",
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_generative(source, Path(folder))
        model = PeftModel.from_pretrained(base, folder)
    merged: PreTrainedModel = model.merge_and_unload(safe_merge=False)
    return merged


def write_merged(source: ExportSource, output: Path) -> str:
    """Write the merged model and its tokenizer; returns how to load it."""
    load_merged(source).save_pretrained(output)
    load_tokenizer(source.base_folder).save_pretrained(output)
    return """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```

vLLM, SGLang and TGI take the folder as a model too, such as `vllm serve FOLDER`."""
