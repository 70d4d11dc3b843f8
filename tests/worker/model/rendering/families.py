"""Small chat templates that behave like those of the families of open models."""

from collections.abc import Mapping

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<eos>", "<bos>", "<start>", "<end>", "<head>", "<inst>", "</inst>", "<call>")
# Two newlines and a space between letters are single tokens, so that tokens can span messages.
MERGES = [("Ċ", "Ċ"), ("h", "e"), ("l", "l"), ("he", "ll"), ("Ġ", "a")]
EACH = "{% for m in messages %}"
ROLE = "{% set role = 'model' if m.role == 'assistant' else m.role %}"
CALLS = (
    "{% for c in m.tool_calls or [] %}"
    "[{{ c.function.name }} {{ c.function.arguments | tojson }}]{% endfor %}"
)
SHOW_TOOLS = "{% if tools %}<start>system\n{{ tools | tojson }}<end>\n{% endif %}"
PROMPT = "{% if add_generation_prompt %}"

TEMPLATES: Mapping[str, str] = {
    "chatml": SHOW_TOOLS + EACH + "<start>{{ m.role }}\n{{ m.content }}" + CALLS + "<end>\n"
    "{% endfor %}" + PROMPT + "<start>assistant\n{% endif %}",
    # Trims contents, and has no newline after a turn.
    "llama": "<bos>"
    + EACH
    + "<start>{{ m.role }}<head>\n\n{{ m.content | trim }}<end>{% endfor %}"
    + PROMPT
    + "<start>assistant<head>\n\n{% endif %}",
    # Writes an empty reasoning block into the last turn only, and strips reasoning of earlier ones.
    "qwen": SHOW_TOOLS + "{% set ns = namespace(last=-1) %}" + EACH + "{% if m.role == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}" + EACH + "<start>{{ m.role }}\n"
    "{% set text = m.content.split('</think>')[-1].lstrip('\n') %}"
    "{% set thought = m.content.split('</think>')[0] if '</think>' in m.content else '' %}"
    "{% if m.role == 'assistant' and loop.index0 > ns.last and (loop.last or thought) %}"
    "<think>\n{{ thought.split('<think>')[-1].strip('\n') }}\n</think>\n\n{% endif %}"
    "{{ text }}" + CALLS + "<end>\n{% endfor %}" + PROMPT + "<start>assistant\n{% endif %}",
    # Insists on alternating roles.
    "gemma": "<bos>" + EACH + ROLE + "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<start>{{ role }}\n{{ m.content | trim }}<end>\n{% endfor %}"
    + PROMPT
    + "<start>model\n{% endif %}",
    # Ends whole chats with the end of text; its special tokens strip the white space after them.
    "phi": EACH
    + "<head>{{ m.role }}<end>\n{{ m.content }}<end>\n{% endfor %}"
    + PROMPT
    + "<head>assistant<end>\n{% else %}<eos>{% endif %}",
    # Has no header before an answer.
    "mistral": "<bos>" + EACH + "{% if m.role == 'user' %}<inst> {{ m.content }}</inst>{% else %}"
    " {{ m.content }}<eos>{% endif %}{% endfor %}",
    # Has no special tokens at all.
    "plain": EACH
    + "### {{ m.role }}:\n{{ m.content }}\n{% endfor %}"
    + PROMPT
    + "### assistant:\n{% endif %}",
    # Begins the model's reasoning in the prompt, and shows none of it later.
    "deepseek": EACH + "<start>{{ m.role }}<head>{{ m.content.split('</think>')[-1] }}"
    "{% if m.role == 'assistant' %}<eos>{% endif %}{% endfor %}"
    + PROMPT
    + "<start>assistant<head><think>\n{% endif %}",
    # Ends the last turn with another token than earlier ones.
    "gpt-oss": EACH + "<start>{{ m.role }}<head>{{ m.content }}"
    "{% if m.role == 'assistant' and loop.last %}<eos>{% else %}<end>{% endif %}{% endfor %}"
    + PROMPT
    + "<start>assistant{% endif %}",
    "tags": EACH + "<start>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}<end>\n{% endgeneration %}{% else %}{{ m.content }}<end>\n{% endif %}"
    "{% endfor %}" + PROMPT + "<start>assistant\n{% endif %}",
}


def make_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Make a byte-level tokenizer with a family's template."""
    tokens = [*SPECIAL, *sorted(ByteLevel.alphabet()), *("".join(pair) for pair in MERGES)]
    tokenizer = Tokenizer(BPE({token: id for id, token in enumerate(tokens)}, MERGES))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = ByteLevelDecoder()
    is_stripping = family == "phi"
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False, rstrip=is_stripping)
            for token in SPECIAL
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", chat_template=TEMPLATES[family]
    )
