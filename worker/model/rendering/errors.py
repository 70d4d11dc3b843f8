"""Errors of chat rendering; their messages are shown to users."""

TOO_DEEP = "The messages or tools are nested too deeply to be rendered."


class RenderingError(ValueError):
    """The messages cannot be rendered. The template's own errors keep their text."""


class PromptTooLong(RenderingError):
    """The prompt exceeds the context length: it has at least `min_tokens` tokens."""

    def __init__(self, min_tokens: int) -> None:
        super().__init__(f"The prompt has at least {min_tokens} tokens.")
        self.min_tokens = min_tokens
