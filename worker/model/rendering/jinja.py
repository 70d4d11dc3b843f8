"""Compiles and renders chat templates in the sandbox of transformers."""

from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateError

# `apply_chat_template` passes plain data only, so a template's clock cannot be set through it.
from transformers.utils.chat_template_utils import _compile_jinja_template

from worker.model.rendering.errors import TOO_DEEP, RenderingError


def render_template(source: str, variables: Mapping[str, Any]) -> str:
    """Render a chat template. Raises RenderingError with the template's own message."""
    try:
        return str(_compile_jinja_template(source).render(**variables))
    except RecursionError as error:
        raise RenderingError(TOO_DEEP) from error
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
        message = f"The model's chat template rejects these messages: {error}"
        raise RenderingError(message) from error
