"""Adapters of families with other layers than Llama's, as they are trained and served."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, PretrainedConfig, Qwen3MoeConfig

from worker.inference.adapter_format import InvalidAdapter, check_config
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.decoder import PromptChunk
from worker.inference.transformers_decoder import TransformersDecoder
from worker.modeling import adapter_parameters, add_adapter, load_base, save_adapter
from worker.run_folder import write_manifest

CPU = torch.device("cpu")
IDS = [5, 6, 7, 80, 81, 3]
CONFIGS: dict[str, PretrainedConfig] = {
    "gpt2": GPT2Config(
        vocab_size=263, n_positions=64, n_embd=32, n_layer=2, n_head=4, eos_token_id=2
    ),
    "experts": Qwen3MoeConfig(
        vocab_size=263,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        max_position_embeddings=64,
    ),
}


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")
@pytest.mark.parametrize("family", CONFIGS)
def test_a_trained_adapter_is_served_with_equal_logits(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(CONFIGS[family]).save_pretrained(tmp_path / "base")
    folder = tmp_path / "adapter"
    folder.mkdir()
    tuned = add_adapter(
        load_base(tmp_path / "base", dtype=torch.float32, device=CPU),
        rank=4,
        alpha=8,
        base_model="base",
        seed=1,
    )
    for name, parameter in adapter_parameters(tuned).items():
        if "lora_B" in name:
            parameter.data.normal_(std=0.2)
    save_adapter(tuned, folder)
    write_manifest(folder)
    with torch.no_grad():
        expected = tuned(input_ids=torch.tensor([IDS])).logits[0, -1]
    check_config(folder)
    base = load_base(tmp_path / "base", dtype=torch.float32, device=CPU)
    decoder = TransformersDecoder(base, context_length=64)
    decoder.begin_prefill(0, AdapterFiles("prefix", folder))
    served = decoder.prefill([PromptChunk(0, IDS)])[0].logits[-1]
    torch.testing.assert_close(served, expected, atol=1e-4, rtol=0)
    decoder.begin_prefill(1, None)
    untuned = decoder.prefill([PromptChunk(1, IDS)])[0].logits[-1]
    assert (served - untuned).abs().max() > 1e-2


def test_an_adapter_of_experts_is_refused(tmp_path: Path) -> None:
    text = '{"peft_type": "LORA", "target_parameters": ["gate_up_proj"]}'
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(InvalidAdapter, match="such as experts"):
        check_config(tmp_path)
