"""Reasoning of models: the tags around it, in prompts and at the beginning of answers."""

import re

from worker.model.rendering.template_tokenizer import TemplateTokenizer

# Characters at a prompt's end in which a template may begin the model's reasoning.
MAX_TAGS_LENGTH = 128


class ReasoningTags:
    """Finds `<think>` and `</think>` in marked texts."""

    def __init__(self, tokens: TemplateTokenizer) -> None:
        self._begin, self._end = (tokens.mark(tag) for tag in ("<think>", "</think>"))
        begin, end = re.escape(self._begin), re.escape(self._end)
        self._empty = re.compile(rf"\s*+{begin}\s*+{end}\s*+")
        self._opened = re.compile(rf"{begin}\s*+({end}\s*+)?\Z")
        self._begins = re.compile(rf"\s*+{begin}\s*+")
        self._whole = re.compile(rf"\s*+{begin}.*?{end}\s*+", re.DOTALL)

    def has_tags(self, text: str) -> bool:
        return self._begin in text

    def is_begun(self, prompt: str) -> bool:
        """Check whether a prompt ends inside of reasoning."""
        opened = self._find_opened(prompt)
        return opened is not None and not opened[1]

    def empty_block(self, text: str) -> int:
        """Measure an empty block at the beginning of a text."""
        block = self._empty.match(text)
        return block.end() if block else 0

    def close(self, prompt: str) -> str:
        """End the reasoning that a prompt begins."""
        if not self.is_begun(prompt):
            return prompt
        return f"{prompt.rstrip()}\n\n{self._end}\n\n"

    def answer_after(self, prompt: str, whole: str, reasoning: str) -> str | None:
        """Return the answer of `whole` after a prompt that ends with reasoning tags, else None.

        The rendered answer may lack the reasoning, or write other white space around the tags.
        """
        opened = self._find_opened(prompt)
        if opened is None or not whole.startswith(prompt[: opened.start()]):
            return None
        rest = whole[opened.start() :]
        if opened[1]:
            block = self._whole.match(rest)
            return rest[block.end() :] if block else rest
        begun = self._begins.match(rest)
        if begun is not None:
            return rest[begun.end() :]
        return f"{reasoning}\n{self._end}\n\n{rest.lstrip() if reasoning else rest}"

    def _find_opened(self, prompt: str) -> re.Match[str] | None:
        return self._opened.search(prompt, max(0, len(prompt) - MAX_TAGS_LENGTH))
