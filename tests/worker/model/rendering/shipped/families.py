# ruff: noqa: RUF001
"""Families of open models: the tokens of each, and what must be learned of the chats.

The templates themselves are in the `trl` wheel, which keeps them as the models ship them, or in a
model's own wheel. The table in docs/reference/chat-templates.md is generated from this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

HERMES_CALL = '<tool_call>\n{{"name": "weather", "arguments": {{"city": "{city}"}}}}\n</tool_call>'
QWEN_CODER_CALL = (
    "<tool_call>\n<function=weather>\n<parameter=city>\n{city}\n</parameter>\n"
    "</function>\n</tool_call>"
)
LLAMA_CALL = '{{"name": "weather", "parameters": {{"city": "{city}"}}}}'
DEEPSEEK_CALL = (
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n"
    '```json\n{{"city": "{city}"}}\n```<｜tool▁call▁end｜>'
)
DEEPSEEK_TOKENS = (
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁outputs▁begin｜>",
    "<｜tool▁outputs▁end｜>",
    "<｜tool▁output▁begin｜>",
    "<｜tool▁output▁end｜>",
)
CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
LLAMA_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|python_tag|>",
)
MISTRAL_CALL = '{{"name": "weather", "arguments": {{"city": "{city}"}}, "id": "call{number:05}"}}'
MISTRAL_TOKENS = (
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[TOOL_CALLS]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
)
QWEN_WORDS = ("<think>", "</think>", "<tool_call>", "</tool_call>")


class Support(StrEnum):
    """How a kind of message reaches the model."""

    TEMPLATE = "template"
    # Written by Luthier in a form of its own, since the template would reject or drop it.
    REWRITTEN = "rewritten"
    LEFT_OUT = "left out"


class CallForm(StrEnum):
    """How a call is written."""

    OBJECT = "JSON object"
    NAMED = "name, JSON"
    PARAMETERS = "name, parameters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A template and its expectations; `{}` in `answer` is the answer's text.

    tokens     special tokens; words are added tokens that count in users' texts too
    call       one call, as it is learned; `parallel` separates several, None makes them turns
    reasoning  an answer with reasoning; None if the template has none
    rows       training rows of three turns
    is_exact   the ids of a chat are those of `apply_chat_template`
    has_exact_prompts  and so are those of a prompt
    """

    name: str
    models: str
    template: str
    tokens: Sequence[str]
    words: Sequence[str] = ()
    bos: str | None = None
    eos: str
    # Ends of turns in the model's generation_config.json.
    stops: Sequence[str] = ()
    answer: str
    call: str = HERMES_CALL
    form: CallForm = CallForm.OBJECT
    calls: str = "{}"
    parallel: str | None = "\n"
    reasoning: str | None = None
    rows: int = 1
    is_exact: bool = True
    has_exact_prompts: bool = True
    system: Support = Support.TEMPLATE
    tools: Support = Support.TEMPLATE
    # An answer that calls tools, where it ends in another way.
    call_end: str | None = None

    def expect_call(self, *cities: str) -> list[str]:
        """The turns that are learned of a message with calls."""
        one = [self.call.format(city=city, number=n) for n, city in enumerate(cities)]
        texts = one if self.parallel is None else [self.parallel.join(one)]
        end = self.call_end or self.answer
        return [end.format(self.calls.format(text)) for text in texts]


FAMILIES: Sequence[Family] = (
    Family(
        name="Qwen2.5",
        models="Qwen2.5 and Qwen2.5-Coder",
        template="qwen2_5",
        tokens=CHATML_TOKENS,
        words=QWEN_WORDS[2:],
        eos="<|im_end|>",
        answer="{}<|im_end|>",
    ),
    Family(
        name="Qwen3",
        models="Qwen3 0.6B to 235B",
        template="qwen3",
        tokens=CHATML_TOKENS,
        words=QWEN_WORDS,
        eos="<|im_end|>",
        answer="{}<|im_end|>",
        reasoning="<think>\n{reasoning}\n</think>\n\n{answer}<|im_end|>",
        # The empty reasoning block before the last answer is left out.
        is_exact=False,
    ),
    Family(
        name="Qwen3-2507",
        models="Qwen3-Instruct-2507",
        template="qwen3_instruct_2507",
        tokens=CHATML_TOKENS,
        words=QWEN_WORDS,
        eos="<|im_end|>",
        answer="{}<|im_end|>",
    ),
    Family(
        name="Qwen3.5",
        models="Qwen3.5 4B and larger",
        template="qwen3_5_think",
        tokens=CHATML_TOKENS,
        words=QWEN_WORDS,
        eos="<|im_end|>",
        answer="{}<|im_end|>",
        call=QWEN_CODER_CALL,
        form=CallForm.PARAMETERS,
        reasoning="{reasoning}\n</think>\n\n{answer}<|im_end|>",
        rows=3,
    ),
    Family(
        name="Qwen3.5 small",
        models="Qwen3.5 0.8B and 2B",
        template="qwen3_5_nothink",
        tokens=CHATML_TOKENS,
        words=QWEN_WORDS,
        eos="<|im_end|>",
        answer="{}<|im_end|>",
        call=QWEN_CODER_CALL,
        form=CallForm.PARAMETERS,
        reasoning="{reasoning}\n</think>\n\n{answer}<|im_end|>",
        rows=3,
    ),
    Family(
        name="Qwen3.6",
        models="Qwen3.6",
        template="qwen3_6",
        tokens=CHATML_TOKENS,
        words=QWEN_WORDS,
        eos="<|im_end|>",
        answer="{}<|im_end|>",
        call=QWEN_CODER_CALL,
        form=CallForm.PARAMETERS,
        reasoning="{reasoning}\n</think>\n\n{answer}<|im_end|>",
        rows=3,
    ),
    Family(
        name="SmolLM2",
        models="SmolLM2 135M to 1.7B",
        template="smollm2",
        tokens=CHATML_TOKENS,
        eos="<|im_end|>",
        answer="{}<|im_end|>",
        tools=Support.REWRITTEN,
    ),
    Family(
        name="Llama 3",
        models="Meta-Llama-3",
        template="llama3",
        tokens=LLAMA_TOKENS,
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        answer="{}<|eot_id|>",
        tools=Support.REWRITTEN,
    ),
    Family(
        name="Llama 3.1",
        models="Llama 3.1 and 3.3",
        template="llama3_1",
        tokens=LLAMA_TOKENS,
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        stops=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
        answer="{}<|eot_id|>",
        call=LLAMA_CALL,
        parallel=None,
    ),
    Family(
        name="Llama 3.2",
        models="Llama 3.2",
        template="llama3_2",
        tokens=LLAMA_TOKENS,
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        stops=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
        answer="{}<|eot_id|>",
        call=LLAMA_CALL,
        parallel=None,
    ),
    Family(
        name="Gemma 2",
        models="Gemma and Gemma 2",
        template="gemma",
        tokens=("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        bos="<bos>",
        eos="<eos>",
        answer="{}<end_of_turn>",
        system=Support.REWRITTEN,
        tools=Support.REWRITTEN,
    ),
    Family(
        name="Gemma 3",
        models="Gemma 3",
        template="gemma3",
        tokens=("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        bos="<bos>",
        eos="<eos>",
        answer="{}<end_of_turn>",
        tools=Support.REWRITTEN,
    ),
    Family(
        name="Gemma 4",
        models="Gemma 4",
        template="gemma4_v5",
        tokens=(
            "<bos>",
            "<eos>",
            "<|turn>",
            "<turn|>",
            "<|channel>",
            "<channel|>",
            "<|tool>",
            "<tool|>",
            "<|tool_call>",
            "<tool_call|>",
            "<|tool_response>",
            "<tool_response|>",
            "<|think|>",
            '<|"|>',
        ),
        bos="<bos>",
        eos="<eos>",
        stops=("<eos>", "<turn|>", "<|tool_response>"),
        answer="{}<turn|>",
        form=CallForm.PARAMETERS,
        call='<|tool_call>call:weather{{city:<|"|>{city}<|"|>}}<tool_call|>',
        call_end="{}<|tool_response>",
        parallel="",
        reasoning="<|channel>thought\n{reasoning}\n<channel|>{answer}<turn|>",
    ),
    Family(
        name="Phi-3",
        models="Phi-3-mini and Phi-3-medium",
        template="phi3",
        tokens=("<|endoftext|>", "<|assistant|>", "<|end|>", "<|system|>", "<|user|>"),
        eos="<|endoftext|>",
        stops=("<|endoftext|>", "<|assistant|>", "<|end|>"),
        answer="{}<|end|>",
        tools=Support.REWRITTEN,
    ),
    Family(
        name="Phi-3.5",
        models="Phi-3.5-mini",
        template="phi3_5",
        tokens=("<|endoftext|>", "<|assistant|>", "<|end|>", "<|system|>", "<|user|>"),
        eos="<|endoftext|>",
        stops=("<|endoftext|>", "<|assistant|>", "<|end|>"),
        answer="{}<|end|>",
        tools=Support.REWRITTEN,
    ),
    Family(
        name="Mistral v3",
        models="Mistral 7B v0.3, Mixtral 8x22B",
        template="mistral/mistral_instruct_tokenizer_240323.model.v3",
        tokens=MISTRAL_TOKENS,
        bos="<s>",
        eos="</s>",
        answer=" {}</s>",
        call=MISTRAL_CALL,
        calls="[TOOL_CALLS] [{}]",
        call_end="{}</s>",
        parallel=", ",
    ),
    Family(
        name="Mistral Nemo",
        models="Mistral Nemo, Ministral 8B",
        template="mistral/tekken_240718.json",
        tokens=MISTRAL_TOKENS,
        bos="<s>",
        eos="</s>",
        answer="{}</s>",
        call=MISTRAL_CALL,
        calls="[TOOL_CALLS][{}]",
        parallel=", ",
    ),
    Family(
        name="Mistral v7",
        models="Mistral Large 2411",
        template="mistral/mistral_instruct_tokenizer_241114.model.v7",
        tokens=(*MISTRAL_TOKENS, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
        bos="<s>",
        eos="</s>",
        answer=" {}</s>",
        call=MISTRAL_CALL,
        calls="[TOOL_CALLS] [{}]",
        call_end="{}</s>",
        parallel=", ",
    ),
    Family(
        name="gpt-oss",
        models="gpt-oss 20B and 120B",
        template="gptoss",
        tokens=("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>"),
        eos="<|return|>",
        stops=("<|return|>", "<|call|>"),
        answer="<|channel|>final<|message|>{}<|return|>",
        form=CallForm.NAMED,
        call=' to=functions.weather<|channel|>commentary json<|message|>{{"city": "{city}"}}',
        call_end="{}<|call|>",
        parallel=None,
        reasoning=(
            "<|channel|>analysis<|message|>{reasoning}<|end|>"
            "<|start|>assistant<|channel|>final<|message|>{answer}<|return|>"
        ),
        rows=3,
    ),
    Family(
        name="DeepSeek-V3",
        models="DeepSeek-V3 and R1",
        template="deepseekv3",
        tokens=DEEPSEEK_TOKENS,
        words=QWEN_WORDS[:2],
        bos="<｜begin▁of▁sentence｜>",
        eos="<｜end▁of▁sentence｜>",
        answer="{}<｜end▁of▁sentence｜>",
        call=DEEPSEEK_CALL,
        form=CallForm.NAMED,
        calls="<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>",
        reasoning="{reasoning}\n</think>\n\n{answer}<｜end▁of▁sentence｜>",
        rows=3,
        # Prompts begin reasoning, which the template leaves out of answers and cannot switch off.
        is_exact=False,
        has_exact_prompts=False,
    ),
    Family(
        name="R1 distills",
        models="DeepSeek-R1-Distill on Qwen and Llama",
        template="deepseek_r1_distill",
        tokens=DEEPSEEK_TOKENS,
        words=QWEN_WORDS[:2],
        bos="<｜begin▁of▁sentence｜>",
        eos="<｜end▁of▁sentence｜>",
        answer="{}<｜end▁of▁sentence｜>",
        reasoning="{reasoning}\n</think>\n\n{answer}<｜end▁of▁sentence｜>",
        rows=3,
        tools=Support.REWRITTEN,
        is_exact=False,
        has_exact_prompts=False,
    ),
    Family(
        name="GLM-4.5",
        models="GLM-4.5 and GLM-4.6",
        template="glm4moe",
        tokens=(
            "<|endoftext|>",
            "[gMASK]",
            "<sop>",
            "<|system|>",
            "<|user|>",
            "<|assistant|>",
            "<|observation|>",
        ),
        words=QWEN_WORDS,
        eos="<|endoftext|>",
        stops=("<|endoftext|>", "<|user|>", "<|observation|>"),
        answer="\n{}<|user|>",
        form=CallForm.PARAMETERS,
        call=(
            "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>{city}</arg_value>\n"
            "</tool_call>"
        ),
        call_end="\n{}<|observation|>",
        reasoning="\n<think>{reasoning}</think>\n{answer}<|user|>",
        # An answer ends with the token that begins the next turn; the last one gets it too.
        is_exact=False,
    ),
    Family(
        name="Aya",
        models="Aya Expanse, Command R",
        template="cohere",
        tokens=(
            "<BOS_TOKEN>",
            "<|START_OF_TURN_TOKEN|>",
            "<|END_OF_TURN_TOKEN|>",
            "<|USER_TOKEN|>",
            "<|CHATBOT_TOKEN|>",
            "<|SYSTEM_TOKEN|>",
        ),
        bos="<BOS_TOKEN>",
        eos="<|END_OF_TURN_TOKEN|>",
        answer="{}<|END_OF_TURN_TOKEN|>",
        tools=Support.REWRITTEN,
    ),
    Family(
        name="Command A",
        models="Tiny Aya, Command A",
        template="cohere2",
        tokens=(
            "<BOS_TOKEN>",
            "<|START_OF_TURN_TOKEN|>",
            "<|END_OF_TURN_TOKEN|>",
            "<|USER_TOKEN|>",
            "<|CHATBOT_TOKEN|>",
            "<|SYSTEM_TOKEN|>",
            "<|START_RESPONSE|>",
            "<|END_RESPONSE|>",
        ),
        bos="<BOS_TOKEN>",
        eos="<|END_OF_TURN_TOKEN|>",
        answer="{}<|END_RESPONSE|>",
        tools=Support.REWRITTEN,
    ),
    Family(
        name="LFM2",
        models="LFM2",
        template="lfm2_v2",
        tokens=(
            "<|startoftext|>",
            *CHATML_TOKENS,
            "<|tool_list_start|>",
            "<|tool_list_end|>",
            "<|tool_call_start|>",
            "<|tool_call_end|>",
            "<|tool_response_start|>",
            "<|tool_response_end|>",
        ),
        bos="<|startoftext|>",
        eos="<|im_end|>",
        answer="{}<|im_end|>",
        call="weather(city='{city}')",
        form=CallForm.PARAMETERS,
        calls="<|tool_call_start|>[{}]<|tool_call_end|>",
        parallel=", ",
    ),
    Family(
        name="Nemotron 3",
        models="Nemotron 3 Nano",
        template="nemotron_3_nano",
        tokens=CHATML_TOKENS,
        words=QWEN_WORDS,
        eos="<|im_end|>",
        answer="{}<|im_end|>",
        call=QWEN_CODER_CALL,
        form=CallForm.PARAMETERS,
        calls="\n{}\n",
        reasoning="{reasoning}\n</think>\n{answer}<|im_end|>",
    ),
)
BY_NAME = {family.name: family for family in FAMILIES}
