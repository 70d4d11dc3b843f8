"""Texts that clients send as token ids."""

from collections.abc import Sequence

from app.errors import InvalidRequest
from app.models.registry import ResolvedModel


def reject_ids_under_alias(
    model: ResolvedModel, name: str, texts: Sequence[str | list[int]], *, param: str
) -> None:
    """Raise InvalidRequest for token ids under another name than the base model's own.

    Clients that encode texts on their own do so for OpenAI's model of that name; the ids of this
    model's tokenizer mean other texts.
    """
    is_alias = model.storage_prefix is None and name != model.base.id
    if not is_alias or all(isinstance(text, str) for text in texts):
        return
    raise InvalidRequest(
        f"Invalid '{param}': `{name}` is an alias of `{model.base.id}`, whose token ids are not "
        "those of OpenAI's models. Send texts (LangChain: check_embedding_ctx_length=False), or "
        f"ids of the model's own tokenizer with the model `{model.base.id}`.",
        param=param,
        code="invalid_value",
    )
