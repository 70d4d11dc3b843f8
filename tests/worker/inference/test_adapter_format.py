"""Adapters in PEFT's format: accepted settings, damaged files, fused matrices."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from worker.inference.adapter_format import InvalidAdapter, check_config, fuse_pairs, read_lora
from worker.inference.lora import LoraAB

SIZES = {"layers.0.q": (6, 4), "layers.0.v": (6, 3)}
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "bias": "none"}
Q = "base_model.model.layers.0.q"


def write_adapter(
    folder: Path, config: Any = CONFIG, tensors: dict[str, Tensor] | None = None
) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    if tensors is not None:
        save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def lora_tensors(name: str = Q, inputs: int = 6, outputs: int = 4) -> dict[str, Tensor]:
    return {
        f"{name}.lora_A.weight": torch.randn(2, inputs),
        f"{name}.lora_B.weight": torch.randn(outputs, 2),
    }


def safetensors_file(header: Any) -> bytes:
    """A safetensors file with this header and 48 bytes of data."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(48)


class TestConfig:
    def test_plain_lora_is_accepted(self, tmp_path: Path) -> None:
        check_config(
            write_adapter(tmp_path, {**CONFIG, "modules_to_save": None, "rank_pattern": {}})
        )

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"use_dora": True}, "DoRA"),
            ({"modules_to_save": ["lm_head"]}, "modules"),
            ({"bias": "all"}, "biases"),
            ({"rank_pattern": {"q": 8}}, "ranks"),
            ({"peft_type": "IA3"}, "LORA"),
        ],
    )
    def test_unsupported_settings_are_rejected_by_name(
        self, tmp_path: Path, change: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InvalidAdapter, match=message):
            check_config(write_adapter(tmp_path, {**CONFIG, **change}))

    @pytest.mark.parametrize("text", ["{", "[]", '"LORA"'])
    def test_an_invalid_config_is_rejected(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(InvalidAdapter):
            check_config(tmp_path)


class TestPairs:
    def test_b_is_scaled_and_transposed(self, tmp_path: Path) -> None:
        tensors = lora_tensors()
        pairs = read_lora(write_adapter(tmp_path, tensors=tensors), SIZES)
        torch.testing.assert_close(pairs["layers.0.q"].a, tensors[f"{Q}.lora_A.weight"])
        torch.testing.assert_close(pairs["layers.0.q"].b, tensors[f"{Q}.lora_B.weight"].T * 3)

    @pytest.mark.parametrize(
        ("tensors", "message"),
        [
            (lora_tensors(inputs=5), "do not match the size"),
            (lora_tensors(outputs=3), "do not match the size"),
            (lora_tensors("base_model.model.layers.7.q"), "does not have"),
            ({f"{Q}.lora_A.weight": torch.randn(2, 6)}, "lacks lora_A or lora_B"),
            ({f"{Q}.lora_magnitude_vector": torch.randn(4)}, "unknown tensor"),
        ],
        ids=["inputs", "outputs", "unknown layer", "half", "unknown kind"],
    )
    def test_an_adapter_that_does_not_fit_is_rejected(
        self, tmp_path: Path, tensors: dict[str, Tensor], message: str
    ) -> None:
        with pytest.raises(InvalidAdapter, match=message):
            read_lora(write_adapter(tmp_path, tensors=tensors), SIZES)

    def test_a_truncated_file_is_rejected(self, tmp_path: Path) -> None:
        weights = write_adapter(tmp_path, tensors=lora_tensors()) / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-10])
        with pytest.raises(InvalidAdapter, match="damaged"):
            read_lora(tmp_path, SIZES)

    @pytest.mark.parametrize(
        "weights",
        [
            (2**63).to_bytes(8, "little") + b"{}",
            (10**9).to_bytes(8, "little") + b'{"a":' * 1000,
            safetensors_file({"a": {"dtype": "F32", "shape": [2, 6], "data_offsets": [0, 2**62]}}),
            safetensors_file(
                {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 48]}}
            ),
            safetensors_file(
                {
                    "a": {"dtype": "F32", "shape": [12], "data_offsets": [0, 48]},
                    "b": {"dtype": "F32", "shape": [12], "data_offsets": [0, 48]},
                }
            ),
            pickle.dumps({"a": torch.zeros(2)}),
            b"",
        ],
        ids=["a header of 8 EB", "a header", "an offset", "a shape", "overlaps", "pickle", "empty"],
    )
    def test_a41_malicious_files_are_rejected(self, tmp_path: Path, weights: bytes) -> None:
        (write_adapter(tmp_path) / "adapter_model.safetensors").write_bytes(weights)
        with pytest.raises(InvalidAdapter, match="damaged"):
            read_lora(tmp_path, SIZES)

    def test_a_config_without_a_rank_is_rejected(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidAdapter, match="damaged"):
            read_lora(write_adapter(tmp_path, {"peft_type": "LORA"}, lora_tensors()), SIZES)

    def test_missing_files_raise(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            read_lora(tmp_path, SIZES)


def test_fused_pairs_compute_the_same_as_their_parts() -> None:
    q = LoraAB(torch.randn(2, 6), (torch.randn(2, 4),))
    v = LoraAB(torch.randn(5, 6), (torch.randn(5, 3),))
    fused = fuse_pairs([(q, 4), (None, 2), (v, 3)])
    assert fused is not None
    x = torch.randn(7, 6)
    expected = torch.cat([x @ q.a.T @ q.b, torch.zeros(7, 2), x @ v.a.T @ v.b], dim=1)
    torch.testing.assert_close(x @ fused.a.T @ fused.b, expected)
    sizes = [block.shape for block in fused.blocks]
    assert sizes == [(2, 4), (0, 2), (5, 3)], "no zeros are kept beside the blocks"
    torch.testing.assert_close(fused.merge_blocks().b, fused.b)
    assert fuse_pairs([(None, 4), (None, 2)]) is None
