"""Both decoders compared with transformers and PEFT, in float32: the logits must be equal."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from tests.worker.inference.conftest import MakeAdapter
from tests.worker.inference.tiny_model import load_tiny
from worker.inference.adapter_format import InvalidAdapter
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.decoder import Decoder, PromptChunk
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.native.library import Kernels
from worker.inference.transformers_decoder import TransformersDecoder
from worker.model.llama import unsupported_reason

PROMPT = [7, 100, 42, 9, 200, 13]
DIMENSIONS = {
    "vocab_size": 263,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
ROPE = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0}
ROPE |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 16}


def random_model(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(1)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        # Norms and biases, too: they start as ones and zeros, which would hide an error.
        nn.init.normal_(parameter, mean=1.0 if parameter.dim() == 1 else 0.0, std=0.15)
    return model.requires_grad_(False).train(False)


def logits_of(model: nn.Module, ids: list[int]) -> Tensor:
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0, -1:]


def prefill(decoder: Decoder, ids: list[int], adapter: AdapterFiles | None = None) -> Tensor:
    with torch.inference_mode():
        decoder.begin_prefill(decoder.num_slots, adapter)
        return decoder.prefill([PromptChunk(decoder.num_slots, ids)])[0].logits


def copy_prompt(decoder: Decoder, slot: int, length: int) -> None:
    with torch.inference_mode():
        decoder.copy_slot(decoder.num_slots, slot, length)


def decode(decoder: Decoder, first: int, tokens: list[int], positions: list[int]) -> Tensor:
    with torch.inference_mode():
        return decoder.decode(range(first, first + len(tokens)), tokens, positions)


@pytest.fixture(params=["llama", "llama-native", "transformers"])
def any_decoder(request: pytest.FixtureRequest, base_folder: Path) -> Decoder:
    model = load_tiny(base_folder)
    if request.param == "transformers":
        return TransformersDecoder(model, context_length=512)
    native = request.param == "llama-native"
    kernels = request.getfixturevalue("native_kernels") if native else None
    return LlamaDecoder(model, context_length=512, kernels=kernels)


class TestArchitectures:
    @pytest.mark.parametrize(
        "config",
        [
            LlamaConfig(**DIMENSIONS, attention_bias=True, mlp_bias=True, rope_parameters=ROPE),
            LlamaConfig(**DIMENSIONS, head_dim=16, tie_word_embeddings=True),
            MistralConfig(**DIMENSIONS, sliding_window=None),
            Qwen2Config(**DIMENSIONS),
            Qwen3Config(**DIMENSIONS, head_dim=16),
        ],
        ids=["llama-biases-rope3", "llama-wide-heads-tied", "mistral", "qwen2", "qwen3"],
    )
    def test_llama_decoder_equals_transformers(
        self, config: PreTrainedConfig, kernels: Kernels | None
    ) -> None:
        model = random_model(config)
        assert unsupported_reason(model, 512) is None
        decoder = LlamaDecoder(model, context_length=512, kernels=kernels)
        torch.testing.assert_close(prefill(decoder, PROMPT), logits_of(model, PROMPT))
        copy_prompt(decoder, 0, len(PROMPT))
        step = decode(decoder, 0, [55], [len(PROMPT)])
        torch.testing.assert_close(step, logits_of(model, [*PROMPT, 55]))

    @pytest.mark.parametrize(
        ("config", "reason"),
        [
            (GPTNeoXConfig(**{**DIMENSIONS, "num_attention_heads": 4}), "architecture"),
            (LlamaConfig(**DIMENSIONS, hidden_act="gelu"), "activation"),
            (MistralConfig(**DIMENSIONS, sliding_window=64), "sliding"),
            (
                Qwen2Config(
                    **DIMENSIONS, use_sliding_window=True, sliding_window=64, max_window_layers=0
                ),
                "sliding",
            ),
            (
                LlamaConfig(**DIMENSIONS, rope_parameters={**ROPE, "rope_type": "dynamic"}),
                "RoPE",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else value.model_type,
    )
    def test_unsupported_models_are_named(self, config: PreTrainedConfig, reason: str) -> None:
        reason = unsupported_reason(random_model(config), 512)
        assert reason is not None
        assert reason in reason

    def test_an_unknown_weight_is_unsupported(self, tiny: PreTrainedModel) -> None:
        tiny.get_submodule("model.layers.0").register_parameter(
            "extra", nn.Parameter(torch.ones(1))
        )
        assert unsupported_reason(tiny, 512) == "the weight model.layers.0.extra"

    def test_the_fallback_supports_other_architectures(self) -> None:
        model = random_model(GPTNeoXConfig(**DIMENSIONS))
        decoder = TransformersDecoder(model, context_length=512)
        torch.testing.assert_close(prefill(decoder, PROMPT), logits_of(model, PROMPT))


class TestRows:
    def test_chunked_prefill(self, any_decoder: Decoder, tiny: PreTrainedModel) -> None:
        with torch.inference_mode():
            any_decoder.begin_prefill(1, None)
            for start, end in ((0, 2), (2, 5), (5, 6)):
                (output,) = any_decoder.prefill([PromptChunk(1, PROMPT[start:end], start)])
        torch.testing.assert_close(output.logits, logits_of(tiny, PROMPT))

    def test_slots_of_different_lengths_in_one_batch(
        self, any_decoder: Decoder, tiny: PreTrainedModel
    ) -> None:
        prompts = [PROMPT, [3, 4], [250] * 9]
        for slot, prompt in enumerate(prompts):
            prefill(any_decoder, prompt)
            copy_prompt(any_decoder, slot, len(prompt))
        logits = decode(any_decoder, 0, [11, 22, 33], [len(prompt) for prompt in prompts])
        expected = [logits_of(tiny, [*p, t]) for p, t in zip(prompts, (11, 22, 33), strict=True)]
        torch.testing.assert_close(logits, torch.cat(expected))

    def test_slots_of_very_different_lengths_in_one_batch(
        self, kernels: Kernels | None, tiny: PreTrainedModel
    ) -> None:
        decoder = LlamaDecoder(tiny, context_length=512, kernels=kernels)
        prompts = [list(range(3, 203)), [3, 4], [5]]
        for slot, prompt in enumerate(prompts):
            prefill(decoder, prompt)
            copy_prompt(decoder, slot, len(prompt))
        logits = decode(decoder, 0, [11, 22, 33], [len(prompt) for prompt in prompts])
        expected = [logits_of(tiny, [*p, t]) for p, t in zip(prompts, (11, 22, 33), strict=True)]
        torch.testing.assert_close(logits, torch.cat(expected))

    def test_a_moved_slot_continues(self, any_decoder: Decoder, tiny: PreTrainedModel) -> None:
        for slot, prompt in enumerate(([3, 4], PROMPT)):
            prefill(any_decoder, prompt)
            copy_prompt(any_decoder, slot, len(prompt))
        any_decoder.move_slot(1, 0, len(PROMPT))
        logits = decode(any_decoder, 0, [11], [len(PROMPT)])
        torch.testing.assert_close(logits, logits_of(tiny, [*PROMPT, 11]))

    def test_a_step_of_some_slots(self, any_decoder: Decoder, tiny: PreTrainedModel) -> None:
        prompts = [PROMPT, [3, 4], [250] * 9]
        for slot, prompt in enumerate(prompts):
            prefill(any_decoder, prompt)
            copy_prompt(any_decoder, slot, len(prompt))
        with torch.inference_mode():
            logits = any_decoder.decode([0, 2], [11, 33], [len(PROMPT), 9])
        expected = [logits_of(tiny, [*PROMPT, 11]), logits_of(tiny, [*prompts[2], 33])]
        torch.testing.assert_close(logits, torch.cat(expected))

    def test_a_swapped_slot_continues(
        self, any_decoder: Decoder, tiny: PreTrainedModel, adapter: MakeAdapter
    ) -> None:
        files, model = adapter()
        prefill(any_decoder, PROMPT, files)
        copy_prompt(any_decoder, 0, len(PROMPT))
        with torch.inference_mode():
            swapped = any_decoder.swap_out(0, len(PROMPT))
            prefill(any_decoder, [9] * 30)
            copy_prompt(any_decoder, 0, 30)
            any_decoder.swap_in(1, swapped)
        logits = decode(any_decoder, 1, [11], [len(PROMPT)])
        torch.testing.assert_close(logits, logits_of(model, [*PROMPT, 11]))

    def test_a_step_can_be_repeated_for_some_slots(
        self, any_decoder: Decoder, tiny: PreTrainedModel
    ) -> None:
        prefill(any_decoder, PROMPT)
        copy_prompt(any_decoder, 0, len(PROMPT))
        copy_prompt(any_decoder, 1, len(PROMPT))
        decode(any_decoder, 0, [11, 22], [len(PROMPT)] * 2)
        again = decode(any_decoder, 1, [22], [len(PROMPT)])
        torch.testing.assert_close(again, logits_of(tiny, [*PROMPT, 22]))
        after = decode(any_decoder, 1, [33], [len(PROMPT) + 1])
        torch.testing.assert_close(after, logits_of(tiny, [*PROMPT, 22, 33]))

    def test_a_reused_slot_has_no_old_state(
        self, any_decoder: Decoder, tiny: PreTrainedModel
    ) -> None:
        for prompt in ([9] * 30, PROMPT):
            prefill(any_decoder, prompt)
            copy_prompt(any_decoder, 0, len(prompt))
        logits = decode(any_decoder, 0, [11], [len(PROMPT)])
        torch.testing.assert_close(logits, logits_of(tiny, [*PROMPT, 11]))


class TestAdapters:
    def test_two_adapters_and_the_base_in_one_batch(
        self, any_decoder: Decoder, tiny: PreTrainedModel, adapter: MakeAdapter
    ) -> None:
        wide, wide_model = adapter("wide", r=8, lora_alpha=4)
        thin, thin_model = adapter(
            "thin",
            r=3,
            lora_alpha=9,
            use_rslora=True,
            target_modules=["q_proj", "v_proj", "up_proj"],
        )
        slots = [(None, tiny), (wide, wide_model), (thin, thin_model), (wide, wide_model)]
        for slot, (adapter_files, model) in enumerate(slots):
            logits = prefill(any_decoder, PROMPT, adapter_files)
            torch.testing.assert_close(
                logits, logits_of(model, PROMPT), msg=f"prompt of row {slot}"
            )
            copy_prompt(any_decoder, slot, len(PROMPT))
        tokens = [11, 22, 33, 44]
        logits = decode(any_decoder, 0, tokens, [len(PROMPT)] * 4)
        expected = [logits_of(m, [*PROMPT, t]) for (_, m), t in zip(slots, tokens, strict=True)]
        torch.testing.assert_close(logits, torch.cat(expected))
        assert not torch.allclose(expected[0], logits_of(wide_model, [*PROMPT, 11])), (
            "the adapter changes nothing"
        )

    def test_prompts_of_two_adapters_and_the_base_in_one_pass(
        self, any_decoder: Decoder, tiny: PreTrainedModel, adapter: MakeAdapter
    ) -> None:
        """Chunks of prompts of different lengths, some of which have begun in earlier passes."""
        wide, wide_model = adapter("wide", r=8, lora_alpha=4)
        thin, thin_model = adapter("thin", r=3, lora_alpha=9, target_modules=["q_proj", "up_proj"])
        cases = [(wide, wide_model), (None, tiny), (thin, thin_model), (wide, wide_model)]
        prompts = [PROMPT[:5], PROMPT, [*PROMPT, 9, 8, 7], PROMPT[::-1]]
        starts = [2, 0, 4, 0]
        with torch.inference_mode():
            for slot, ((files, _), prompt, start) in enumerate(
                zip(cases, prompts, starts, strict=True)
            ):
                any_decoder.begin_prefill(slot, files)
                if start:
                    any_decoder.prefill([PromptChunk(slot, prompt[:start], num_logits=0)])
            outputs = any_decoder.prefill(
                [
                    PromptChunk(slot, prompt[start:], start, num_logits=slot % 2)
                    for slot, (prompt, start) in enumerate(zip(prompts, starts, strict=True))
                ]
            )
        for slot, ((_, model), prompt, output) in enumerate(
            zip(cases, prompts, outputs, strict=True)
        ):
            assert len(output.hidden) == len(prompt) - starts[slot]
            assert len(output.logits) == slot % 2
            if slot % 2:
                torch.testing.assert_close(output.logits, logits_of(model, prompt))
        for slot, ((_, model), prompt) in enumerate(zip(cases, prompts, strict=True)):
            logits = decode(any_decoder, slot, [11], [len(prompt)])
            torch.testing.assert_close(logits, logits_of(model, [*prompt, 11]))

    def test_a_shrinking_batch_of_adapters(
        self, kernels: Kernels | None, base_folder: Path, adapter: MakeAdapter
    ) -> None:
        decoder = LlamaDecoder(load_tiny(base_folder), context_length=512, kernels=kernels)
        adapters = [adapter(name) for name in "abc"]
        for slot, (adapter_files, _) in enumerate(adapters):
            prefill(decoder, PROMPT, adapter_files)
            copy_prompt(decoder, slot, len(PROMPT))
        for slots in (3, 2, 1):
            # The rest of a batch may continue with the stack of all its adapters.
            logits = decode(decoder, 0, [11] * slots, [len(PROMPT)] * slots)
            expected = [logits_of(model, [*PROMPT, 11]) for _, model in adapters[:slots]]
            torch.testing.assert_close(logits, torch.cat(expected))

    def test_an_adapter_of_another_size_is_rejected(
        self, any_decoder: Decoder, adapter: MakeAdapter
    ) -> None:
        adapter_files, _ = adapter()
        other = random_model(LlamaConfig(**{**DIMENSIONS, "hidden_size": 64}))
        larger = type(any_decoder)(other, context_length=512)  # type: ignore[call-arg]
        with pytest.raises(InvalidAdapter, match="do not match the size"):
            larger.check_adapter(adapter_files)

    def test_an_output_layer_adapter_needs_the_fallback(
        self, decoder: LlamaDecoder, base_folder: Path, adapter: MakeAdapter
    ) -> None:
        adapter_files, model = adapter(target_modules=["lm_head"])
        with pytest.raises(InvalidAdapter, match="lm_head"):
            decoder.check_adapter(adapter_files)
        slow = TransformersDecoder(load_tiny(base_folder), context_length=512)
        torch.testing.assert_close(prefill(slow, PROMPT, adapter_files), logits_of(model, PROMPT))
