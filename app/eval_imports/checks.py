"""Checks of a planned import by what this service has: models, an encoder, and its own limits.

What would be refused in a request is a difference here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from app.catalog import Catalog
from app.errors import ApiError
from app.eval_imports.plan import DifferenceList, ImportPlan, PlannedEval, PlannedRun
from app.eval_imports.schemas import ImportedRun
from app.evals import data_sources, service
from app.evals.criteria import TestingCriterion
from app.evals.run_sources import DataSource
from app.evals.schemas import MAX_CRITERIA, CreateEval, DataSourceConfig
from app.models import registry
from app.models.registry import ModelTask
from app.wire.base import DisplayName, Metadata
from app.wire.validation_errors import to_invalid_request

CONFIG: TypeAdapter[DataSourceConfig] = TypeAdapter(DataSourceConfig)
CRITERION: TypeAdapter[TestingCriterion] = TypeAdapter(TestingCriterion)
DATA_SOURCE: TypeAdapter[DataSource] = TypeAdapter(DataSource)
NAME: TypeAdapter[str] = TypeAdapter(DisplayName)
METADATA: TypeAdapter[dict[str, str]] = TypeAdapter(Metadata)
# Stands for the file that a run's items become.
FILE_SOURCE = {"type": "file_id", "id": "file"}
Validated = TypeVar("Validated")


class _Refused(Exception):
    """A part of the plan that is not valid here; the message says why."""


@dataclass(frozen=True, slots=True)
class CheckedEval:
    """An eval that can be created, with the number of the file of its items, and its runs, each
    with that of its own."""

    body: CreateEval
    file: int | None
    runs: list[tuple[int | None, ImportedRun]]


class PlanChecker:
    """Checks plans for a project. `judge_model` stands in for judges that are not here."""

    def __init__(
        self,
        session: Session,
        catalog: Catalog,
        project_id: str,
        judge_model: str | None,
        differences: DifferenceList,
    ) -> None:
        self._session = session
        self._catalog = catalog
        self._project_id = project_id
        self._judge_model = judge_model
        self._differences = differences
        # Whether each is a model that can do the task.
        self._models: dict[tuple[str, ModelTask], bool] = {}

    def check(self, plan: ImportPlan) -> list[CheckedEval]:
        """Check the evals of a plan; those without a criterion are left out.

        Raises ModelNotFound and InvalidRequest for the judge model.
        """
        if self._judge_model is not None:
            registry.resolve(
                self._session,
                self._catalog,
                self._project_id,
                self._judge_model,
                task=ModelTask.JUDGE,
                param="judge_model",
            )
        return [checked for each in plan.evals if (checked := self._check_eval(each)) is not None]

    def _check_eval(self, planned: PlannedEval) -> CheckedEval | None:
        try:
            source = _validate(CONFIG, planned.data_source_config)
        except _Refused as error:
            self._differences.leave_out("eval", str(error), planned.place)
            return None
        if len(planned.criteria) > MAX_CRITERIA:
            # None of them is checked: each may take queries.
            reason = f"It has more than {MAX_CRITERIA} criteria."
            self._differences.leave_out("eval", reason, planned.place)
            return None
        config = data_sources.build_config(source)
        criteria = []
        for place, fields in planned.criteria:
            try:
                criteria.append(self._check_criterion(fields, config, place))
            except _Refused as error:
                self._differences.leave_out(str(fields.get("type")), str(error), place)
        if not criteria:
            reason = "It has no criterion that is valid here."
            self._differences.leave_out("eval", reason, planned.place)
            return None
        body = CreateEval(
            name=self._check_name(planned.name, planned.place),
            metadata=self._check_metadata(planned.metadata, planned.place),
            data_source_config=source,
            testing_criteria=criteria,
        )
        runs = [run for each in planned.runs if (run := self._check_run(each)) is not None]
        return CheckedEval(body, planned.file, runs)

    def _check_criterion(
        self, fields: dict[str, Any], config: dict[str, Any], place: str
    ) -> TestingCriterion:
        for grader in _list_graders(fields):
            self._find_judge(grader, place)
        criterion = _validate(CRITERION, fields)
        try:
            service.check_criterion(
                self._session, self._catalog, self._project_id, criterion, config, place
            )
        except ApiError as error:
            raise _Refused(error.message) from error
        return criterion

    def _find_judge(self, grader: dict[str, Any], place: str) -> None:
        """Have a judge that is here judge. Raises _Refused if there is none."""
        name = grader.get("model")
        if not isinstance(name, str) or self._has_model(name, ModelTask.JUDGE):
            return
        given = f"Its judge '{name}' is not here." if name else "It names no judge."
        if self._judge_model is None:
            raise _Refused(f"{given} Send 'judge_model', a model that judges instead.")
        grader["model"] = self._judge_model
        self._differences.change("judge", f"{given} '{self._judge_model}' judges.", place)

    def _has_model(self, name: str, task: ModelTask) -> bool:
        key = (name, task)
        if key not in self._models:
            try:
                registry.resolve(self._session, self._catalog, self._project_id, name, task=task)
                self._models[key] = True
            except ApiError:
                self._models[key] = False
        return self._models[key]

    def _check_run(self, planned: PlannedRun) -> tuple[int | None, ImportedRun] | None:
        body = planned.data_source
        if planned.file is not None:
            body = {**body, "source": FILE_SOURCE}
        name = body.get("model")
        if name is not None and not (
            isinstance(name, str) and self._has_model(name, ModelTask.CHAT)
        ):
            reason = f"The model '{name}' is not here. Add the 'model' that is to answer."
            self._differences.change("run", reason, planned.place)
            body = {key: value for key, value in body.items() if key != "model"}
        try:
            _validate(DATA_SOURCE, body)
        except _Refused as error:
            self._differences.leave_out("run", str(error), planned.place)
            return None
        run = ImportedRun(
            name=self._check_name(planned.name, planned.place),
            metadata=self._check_metadata(planned.metadata, planned.place),
            data_source=body,
        )
        return planned.file, run

    def _check_name(self, name: str | None, place: str) -> str | None:
        if name is None:
            return None
        try:
            return _validate(NAME, name)
        except _Refused as error:
            self._differences.leave_out("name", str(error), place)
            return None

    def _check_metadata(self, metadata: dict[str, Any] | None, place: str) -> dict[str, str] | None:
        if metadata is None:
            return None
        try:
            return _validate(METADATA, metadata)
        except _Refused as error:
            self._differences.leave_out("metadata", str(error), place)
            return None


def _list_graders(criterion: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """List a criterion and, of several graders in one, those."""
    yield criterion
    graders = criterion.get("graders")
    if isinstance(graders, dict):
        yield from (each for each in graders.values() if isinstance(each, dict))


def _validate(adapter: TypeAdapter[Validated], value: Any) -> Validated:
    """Raises _Refused."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        reason = to_invalid_request(error.errors(include_url=False), body=value)
        raise _Refused(reason.message) from error
