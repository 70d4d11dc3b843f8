"""GGUF: a whole generative model in one file, for llama.cpp and what is built on it.

Written without llama.cpp's own converter, which is not a package, for the families below: weights,
rotary embeddings, tokenizer and chat template. Weights keep the base model's precision.
"""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from worker.exporting.causal import load_merged
from worker.exporting.errors import UnsupportedExport
from worker.exporting.gguf_families import FAMILIES, Family
from worker.exporting.gguf_name import choose_name
from worker.exporting.gguf_vocabulary import add_vocabulary
from worker.exporting.source import ExportSource
from worker.modeling import load_tokenizer

MODEL_FILE = "model.gguf"
POSITIONS = "position_embd.weight"
FILE_TYPES = {
    torch.float32: (gguf.LlamaFileType.ALL_F32, gguf.GGMLQuantizationType.F32),
    torch.float16: (gguf.LlamaFileType.MOSTLY_F16, gguf.GGMLQuantizationType.F16),
    torch.bfloat16: (gguf.LlamaFileType.MOSTLY_BF16, gguf.GGMLQuantizationType.BF16),
}


def write_gguf(source: ExportSource, output: Path) -> str:
    """Write the merged model as one file; returns how to load it. Raises UnsupportedExport."""
    model_type = str(source.base_config.get("model_type"))
    if model_type not in FAMILIES:
        raise UnsupportedExport(
            f"GGUF files are written for models of the types {', '.join(FAMILIES)}, and this "
            f"one is {model_type}. Export it as merged, and convert that with llama.cpp's "
            "convert_hf_to_gguf.py."
        )
    model = load_merged(source)
    family = FAMILIES[model_type](model.config)
    family.check()
    _Writer(source, model, family).write(output / MODEL_FILE)
    return f"""```bash
llama-cli -m FOLDER/{MODEL_FILE} -cnv
llama-quantize FOLDER/{MODEL_FILE} q4_k_m.gguf Q4_K_M   # a quarter of the size, slightly worse
printf 'FROM FOLDER/{MODEL_FILE}' > Modelfile && ollama create my-model -f Modelfile
```"""


class _Writer:
    def __init__(self, source: ExportSource, model: PreTrainedModel, family: Family) -> None:
        self._source = source
        self._model = model
        self._config: Any = model.config
        self._family = family
        self._names = gguf.get_tensor_name_map(family.arch, self._config.num_hidden_layers)
        self._file_type, self._matrix_type = FILE_TYPES.get(model.dtype, FILE_TYPES[torch.float32])

    def write(self, path: Path) -> None:
        """Write metadata, then one tensor after another."""
        writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[self._family.arch])
        tokenizer = load_tokenizer(self._source.base_folder)
        writer.add_name(choose_name(self._source.spec.model_name, tokenizer))
        self._add_metadata(writer)
        add_vocabulary(writer, tokenizer, self._config.vocab_size)
        tensors = self._list_tensors()
        for name, tensor in tensors:
            kind = self._type_of(name, tensor)
            shape = gguf.quant_shape_to_byte_shape(tensor.shape, kind)
            size = int(np.prod(shape))
            writer.add_tensor_info(name, shape, np.dtype(np.uint8), size, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, tensor in tensors:
            writer.write_tensor_data(self._encode(name, tensor))
        writer.close()

    def _add_metadata(self, writer: gguf.GGUFWriter) -> None:
        if self._source.base.license:
            writer.add_license(self._source.base.license)
        self._family.add_metadata(writer)
        writer.add_vocab_size(self._config.vocab_size)
        writer.add_file_type(self._file_type)

    def _list_tensors(self) -> list[tuple[str, Tensor]]:
        """List the tensors under llama.cpp's names."""
        is_tied = self._config.tie_word_embeddings
        tensors = []
        for name, tensor in self._model.state_dict().items():
            if is_tied and name == "lm_head.weight":
                continue
            new_name = self._names.get_name(name, try_suffixes=(".weight", ".bias"))
            if new_name is None:
                raise UnsupportedExport(f"llama.cpp has no tensor for this model's {name}.")
            tensors.append((new_name, self._family.convert(name, tensor)))
        return [*tensors, *self._family.make_further_tensors()]

    def _type_of(self, name: str, tensor: Tensor) -> gguf.GGMLQuantizationType:
        # llama.cpp needs norms, biases and positions in float32.
        is_matrix = tensor.dim() >= 2 and name != POSITIONS
        return self._matrix_type if is_matrix else gguf.GGMLQuantizationType.F32

    def _encode(self, name: str, tensor: Tensor) -> NDArray[Any]:
        data = tensor.detach().float().contiguous().numpy()
        encoded: NDArray[Any] = gguf.quants.quantize(data, self._type_of(name, tensor))
        return encoded.view(np.uint8)
