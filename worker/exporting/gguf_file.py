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
from worker.exporting.gguf_rope import add_rope, get_rope_factors
from worker.exporting.gguf_vocabulary import add_vocabulary
from worker.exporting.source import ExportSource
from worker.modeling import load_tokenizer

MODEL_FILE = "model.gguf"
# Model types whose tensors llama.cpp has under these architectures, with the same arithmetic.
ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
}
FILE_TYPES = {
    torch.float32: (gguf.LlamaFileType.ALL_F32, gguf.GGMLQuantizationType.F32),
    torch.float16: (gguf.LlamaFileType.MOSTLY_F16, gguf.GGMLQuantizationType.F16),
    torch.bfloat16: (gguf.LlamaFileType.MOSTLY_BF16, gguf.GGMLQuantizationType.BF16),
}


def write_gguf(source: ExportSource, output: Path) -> str:
    """Write the merged model as one file; returns how to load it. Raises UnsupportedExport."""
    model_type = source.base_config.get("model_type")
    if model_type not in ARCHITECTURES:
        raise UnsupportedExport(
            f"GGUF files are written for models of the types {', '.join(ARCHITECTURES)}, and this "
            f"one is {model_type}. Export it as merged, and convert that with llama.cpp's "
            "convert_hf_to_gguf.py."
        )
    _Writer(source, load_merged(source), ARCHITECTURES[model_type]).write(output / MODEL_FILE)
    return f"""```bash
llama-cli -m FOLDER/{MODEL_FILE} -cnv
llama-quantize FOLDER/{MODEL_FILE} q4_k_m.gguf Q4_K_M   # a quarter of the size, slightly worse
printf 'FROM FOLDER/{MODEL_FILE}' > Modelfile && ollama create my-model -f Modelfile
```"""


class _Writer:
    def __init__(self, source: ExportSource, model: PreTrainedModel, arch: gguf.MODEL_ARCH) -> None:
        self._source = source
        self._model = model
        self._config: Any = model.config
        self._arch = arch
        self._names = gguf.get_tensor_name_map(arch, self._config.num_hidden_layers)
        self._file_type, self._matrix_type = FILE_TYPES.get(model.dtype, FILE_TYPES[torch.float32])

    def write(self, path: Path) -> None:
        """Write metadata, then one tensor after another."""
        writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[self._arch])
        self._add_metadata(writer)
        add_vocabulary(writer, load_tokenizer(self._source.base_folder), self._config.vocab_size)
        tensors = self._list_tensors()
        for name, tensor in tensors:
            kind = self._type_of(tensor)
            shape = gguf.quant_shape_to_byte_shape(tensor.shape, kind)
            size = int(np.prod(shape))
            writer.add_tensor_info(name, shape, np.dtype(np.uint8), size, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for _, tensor in tensors:
            writer.write_tensor_data(self._encode(tensor))
        writer.close()

    def _add_metadata(self, writer: gguf.GGUFWriter) -> None:
        config = self._config
        writer.add_name(self._source.spec.model_name)
        if self._source.base.license:
            writer.add_license(self._source.base.license)
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(self._head_dim)
        writer.add_value_length(self._head_dim)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_vocab_size(config.vocab_size)
        writer.add_file_type(self._file_type)
        add_rope(writer, config, self._head_dim)

    @property
    def _head_dim(self) -> int:
        own = getattr(self._config, "head_dim", None)
        return int(own or self._config.hidden_size // self._config.num_attention_heads)

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
            tensors.append((new_name, self._permute(name, tensor)))
        factors = get_rope_factors(self._config, self._head_dim)
        if factors is not None:
            tensors.append(("rope_freqs.weight", factors))
        return tensors

    def _permute(self, name: str, tensor: Tensor) -> Tensor:
        """Reorder the rows of query and key for llama.cpp's rotation of neighbouring pairs."""
        if self._arch != gguf.MODEL_ARCH.LLAMA:
            return tensor
        for part, heads in (
            (".q_proj.", self._config.num_attention_heads),
            (".k_proj.", self._config.num_key_value_heads),
        ):
            if part in name:
                rest = tensor.shape[1:]
                halves = tensor.reshape(heads, 2, len(tensor) // heads // 2, *rest)
                return halves.swapaxes(1, 2).reshape(tensor.shape)
        return tensor

    def _type_of(self, tensor: Tensor) -> gguf.GGMLQuantizationType:
        # llama.cpp needs norms and biases in float32.
        return gguf.GGMLQuantizationType.F32 if tensor.dim() < 2 else self._matrix_type

    def _encode(self, tensor: Tensor) -> NDArray[Any]:
        data = tensor.detach().float().contiguous().numpy()
        encoded: NDArray[Any] = gguf.quants.quantize(data, self._type_of(tensor))
        return encoded.view(np.uint8)
