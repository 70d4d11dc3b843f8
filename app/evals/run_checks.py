"""Checks of a new run: its model, messages and parameters, and where its items come from."""

from sqlalchemy.orm import Session

from app.catalog import Catalog
from app.db.tables import Eval, File, FilePurpose
from app.errors import InvalidRequest
from app.evals import variables
from app.evals.run_sources import (
    DataSource,
    ItemReference,
    JsonlDataSource,
    ResponsesDataSource,
    Sampling,
    find_sampling,
)
from app.files import service as files
from app.inference.endpoints import CHAT_COMPLETIONS_PATH, ENDPOINTS
from app.models import registry
from app.models.registry import ModelTask, ResolvedModel

SOURCE = "data_source.source"
STORED_CONFIGS = ("logs", "stored_completions")


def check_sampling(
    session: Session, catalog: Catalog, project_id: str, parent: Eval, source: DataSource
) -> str:
    """Check the model that is sampled and its messages; return its name, or an empty one."""
    place, config = "data_source.input_messages", parent.data_source_config
    sampling = find_sampling(source)
    if isinstance(source, JsonlDataSource):
        return ""
    if source.model is None or sampling is None:
        if source.input_messages is not None:
            raise InvalidRequest(
                "Missing required parameter: 'data_source.model', which is to answer the "
                "'input_messages'. Without a model, leave them out: the items' own samples are "
                "graded.",
                param="data_source.model",
                code="missing_required_parameter",
            )
        return ""
    messages = sampling.input_messages
    if isinstance(messages, ItemReference):
        variables.check_reference(f"{place}.item_reference", messages.item_reference, config)
    else:
        for index, message in enumerate(messages.template):
            param = f"{place}.template[{index}].content"
            variables.check_template(param, message.content, config, has_sample=False)
    model = registry.resolve(
        session, catalog, project_id, source.model, task=ModelTask.CHAT, param="data_source.model"
    )
    _check_params(source, sampling, model)
    # Not the alias, which may stand for another model tomorrow.
    return model.name


def _check_params(source: DataSource, sampling: Sampling, model: ResolvedModel) -> None:
    """Raise InvalidRequest for parameters that no chat request may have, before each item does."""
    endpoint = ENDPOINTS[CHAT_COMPLETIONS_PATH]
    params = sampling.params.model_dump(exclude_none=True)
    document = {"model": "any", "messages": [{"role": "user", "content": "x"}], **params}
    try:
        body = endpoint.parse(document)
        if model.base.engine is None:
            endpoint.check_for_built_in_engine(body)
    except InvalidRequest as error:
        raise InvalidRequest(
            f"Invalid 'data_source.sampling_params': {error.message}",
            param=_find_place(source, error.error_param or ""),
            code=error.error_code,
        ) from error


def _find_place(source: DataSource, param: str) -> str:
    """Find the place of a chat's parameter in the request, which may have the Responses API's."""
    if isinstance(source, ResponsesDataSource):
        for name in ("response_format.json_schema", "response_format"):
            param = param.replace(name, "text.format")
        param = param.replace(".function", "")
    return f"data_source.sampling_params.{param}"


def check_stored(parent: Eval) -> None:
    if parent.data_source_config["type"] not in STORED_CONFIGS:
        raise InvalidRequest(
            "Invalid 'data_source.source': the items of this eval have the schema of its "
            "data_source_config. Stored completions are the items of evals with the "
            "data_source_config 'logs' or 'stored_completions'.",
            param=f"{SOURCE}.type",
            code="invalid_value",
        )


def get_file(session: Session, project_id: str, file_id: str) -> File:
    """Get a file of items, locked against its deletion. Raises InvalidRequest."""
    file = files.find(session, project_id, file_id, lock="share")
    if file is None:
        raise InvalidRequest(f"No such File object: {file_id}", param=f"{SOURCE}.id")
    if file.purpose != FilePurpose.EVALS:
        raise InvalidRequest(
            f"The file {file_id} has the purpose '{file.purpose}'. Items are read from files of "
            "the purpose 'evals': upload it with that.",
            param=f"{SOURCE}.id",
            code="invalid_value",
        )
    return file
