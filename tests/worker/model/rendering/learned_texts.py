"""The texts that a rendered chat teaches."""

from transformers import PreTrainedTokenizerFast

from worker.model.rendering import RenderedChat


def learned_texts(tokenizer: PreTrainedTokenizerFast, rendered: RenderedChat) -> list[str]:
    """Decode each stretch of learned tokens."""
    texts = []
    for row in rendered.rows:
        stretch: list[int] = []
        for id, is_learned in zip([*row.ids, 0], [*row.loss_mask, False], strict=True):
            if is_learned:
                stretch.append(int(id))
            elif stretch:
                texts.append(str(tokenizer.decode(stretch)))
                stretch = []
    return texts
