"""Chat rendering, for both training and serving."""

from worker.model.rendering.errors import PromptTooLong, RenderingError
from worker.model.rendering.examples import RenderedChat
from worker.model.rendering.options import DEFAULT_OPTIONS, RenderingOptions
from worker.model.rendering.renderer import ChatPrompt, Renderer
from worker.model.rendering.rows import TrainingRow

__all__ = [
    "DEFAULT_OPTIONS",
    "ChatPrompt",
    "PromptTooLong",
    "RenderedChat",
    "Renderer",
    "RenderingError",
    "RenderingOptions",
    "TrainingRow",
]
