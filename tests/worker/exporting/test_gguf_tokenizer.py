"""Tokenizers in GGUF files: names and vocabularies that llama.cpp would read otherwise."""

from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from app.catalog import CatalogModel
from tests.worker.conftest import SPECIAL_TOKENS, tiny_tokenizer
from tests.worker.exporting.conftest import export, tune_causal
from worker.exporting.errors import UnsupportedExport
from worker.exporting.gguf_name import choose_name

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
KEEPING = ("<unk>", "<s>", "<|endoftext|>")


def make_pieces(*stripping: str) -> PreTrainedTokenizerFast:
    """Pieces as SentencePiece's, without tokens of bytes; these special tokens strip."""
    tokenizer = Tokenizer(BPE({"<unk>": 0, "a": 1}, [], unk_token="<unk>"))
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in KEEPING])
    # Phi-3's own end of text is no special token.
    tokenizer.add_tokens([AddedToken(name, rstrip=True) for name in stripping])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<|endoftext|>"
    )


@pytest.mark.parametrize(
    ("tokenizer", "name", "expected"),
    [
        (make_pieces("</s>", "<|end|>"), "ft:desk:acme::a", "ft:desk:acme::a phi-3"),
        (make_pieces("</s>", "<|end|>"), "ft:Phi-3:acme::a", "ft:Phi-3:acme::a"),
        (make_pieces("<|end|>"), "ft:Phi3-mini:acme::a", "ft:phi 3-mini:acme::a"),
        (make_pieces("</s>", "<s>"), "ft:phi-3.5:acme::a", "ft:phi 3.5:acme::a"),
        (tiny_tokenizer(), "ft:tiny:acme:no-phi3:a", "ft:tiny:acme:no-phi 3:a"),
        (tiny_tokenizer(), "ft:phi-4:acme::a", "ft:phi-4:acme::a"),
    ],
)
def test_a_name_is_phi3s_if_its_tokens_are(
    tokenizer: PreTrainedTokenizerFast, name: str, expected: str
) -> None:
    assert choose_name(name, tokenizer) == expected


def test_pieces_without_tokens_of_bytes_are_refused(
    tmp_path: Path, causal_base: CatalogModel
) -> None:
    """llama.cpp would load them, and fail at the first text with another character."""
    folder = tmp_path / "base"
    config = LlamaConfig.from_pretrained(causal_base.source.removeprefix("path:"))
    LlamaForCausalLM(config).save_pretrained(folder)
    make_pieces(*SPECIAL_TOKENS).save_pretrained(folder)
    base = CatalogModel.from_json({**causal_base.to_json(), "source": f"path:{folder}"})
    tune_causal(base, tmp_path / "adapter")
    with pytest.raises(UnsupportedExport, match="no token for each byte"):
        export(base, tmp_path / "adapter", "gguf", tmp_path / "gguf")
