"""Every kind of tokenizer: ids are transformers' own, and prompts are prefixes of training rows."""

from functools import cache

import pytest
from transformers import PreTrainedTokenizerFast

from tests.worker.model.rendering.shipped.chats import answer, user
from tests.worker.model.rendering.shipped.tokenizers import read_template
from tests.worker.model.rendering.shipped.trained import FLAGS, KINDS
from worker.model.rendering import Renderer

# Templates that differ in the white space after special tokens, and what ends their answers.
TEMPLATES = {"phi3": "<|end|>", "gemma": "<end_of_turn>", "llama3": "<|eot_id|>"}
SPECIAL = (
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
CHAT = [
    user("What is the weather in Rome?"),
    answer("It rains.\n\nTake care."),
    user(" And today?  "),
    answer(" One. Two."),
]


@cache
def make_tokenizer(kind: str, flags: str, template: str) -> PreTrainedTokenizerFast:
    tokenizer = KINDS[kind]()
    tokenizer.add_special_tokens([FLAGS[flags](name) for name in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=read_template(template),
    )


# Such a tokenizer prepends a space to the special token's own name, and never finds it in a text.
UNREADABLE = ("BPE pieces by a normalizer", "normalized")


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_prompts(kind: str, flags: str, template: str) -> None:
    if (kind, flags) == UNREADABLE:
        pytest.skip("the tokenizer cannot read its own special tokens")
    tokenizer = make_tokenizer(kind, flags, template)
    renderer = Renderer(tokenizer, context_length=4096)
    whole = tokenizer.apply_chat_template(CHAT, tokenize=True, return_dict=False)
    rendered = renderer.render_example(CHAT)
    assert rendered.num_learned == 2
    prompts = [renderer.render_prompt(CHAT[:place]) for place in (1, 3)]
    # GPT-2's pattern cuts white space at a prompt's end in another way than before a word.
    if all(whole[: len(prompt)] == prompt for prompt in prompts):
        (row,) = rendered.rows
        assert row.ids.tolist() == whole
    for place in (1, 3):
        prompt = renderer.render_prompt(CHAT[:place])
        expected = tokenizer.apply_chat_template(
            CHAT[:place], tokenize=True, return_dict=False, add_generation_prompt=True
        )
        assert prompt == expected
        size = len(prompt)
        (row,) = (
            row
            for row in rendered.rows
            if row.ids[:size].tolist() == prompt and row.loss_mask[size]
        )
        end = tokenizer.convert_tokens_to_ids(TEMPLATES[template])
        learned = row.ids[size:][row.loss_mask[size:]].tolist()
        assert end in learned, "the end of the turn is learned"
        assert not row.loss_mask[size - 1]
