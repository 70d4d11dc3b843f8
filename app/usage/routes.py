"""Routes of /v1/organization/usage and /v1/organization/costs, for admin keys."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import UsageKind
from app.errors import InvalidRequest
from app.http.dependencies import AdminDep, ReadSessionDep
from app.http.openapi import DocumentedRoute
from app.usage import costs
from app.usage.costs import Cost
from app.usage.dependencies import PricesDep
from app.usage.query import GROUP_COLUMNS, UsageFilter, UsageGroup, sum_usage
from app.usage.schemas import (
    DEFAULT_BUCKETS,
    MAX_BUCKETS,
    Amount,
    Bucket,
    BucketPage,
    CompletionsResult,
    CompletionsUsageQuery,
    CostResult,
    CostsQuery,
    EmbeddingsResult,
    GroupedUsageQuery,
    TimeQuery,
    UsageGrouping,
    UsageQuery,
)
from app.usage.time_buckets import BucketWidth, TimeRange, select_page

router = APIRouter(prefix="/v1/organization", tags=["usage"], route_class=DocumentedRoute)
Group = TypeVar("Group", UsageGroup, Cost)


# Usage of what no model here does.
NOT_OFFERED = (
    "audio_speeches",
    "audio_transcriptions",
    "code_interpreter_sessions",
    "decisions",
    "file_search_calls",
    "images",
    "moderations",
    "vector_stores",
    "web_search_calls",
)


@router.get("/usage/completions")
def get_completions_usage(
    query: Annotated[CompletionsUsageQuery, Query()], admin: AdminDep, session: ReadSessionDep
) -> BucketPage:
    """Count the tokens of chats, completions and classifiers, live and in batches."""
    return _get_usage(session, admin.organization_id, query, UsageKind.COMPLETIONS, _completions)


@router.get("/usage/embeddings")
def get_embeddings_usage(
    query: Annotated[GroupedUsageQuery, Query()], admin: AdminDep, session: ReadSessionDep
) -> BucketPage:
    """Count the tokens of texts that were embedded."""
    return _get_usage(session, admin.organization_id, query, UsageKind.EMBEDDINGS, _embeddings)


@router.get("/costs")
def get_costs(
    query: Annotated[CostsQuery, Query()],
    admin: AdminDep,
    prices: PricesDep,
    session: ReadSessionDep,
) -> BucketPage:
    """Compute what requests and training cost by the operator's prices."""
    times, next_page = _select_times(session, query, BucketWidth.DAY, query.limit)
    chosen = UsageFilter(
        organization_id=admin.organization_id,
        project_ids=query.project_ids,
        api_key_ids=query.api_key_ids,
    )
    group_by = [name for name in query.group_by if name in costs.GROUPS]
    found = costs.sum_costs(session, chosen, times, group_by, prices, query.line_items)

    def to_result(cost: Cost) -> CostResult:
        has_quantity = "line_item" in cost.values
        return CostResult(
            amount=Amount(value=float(cost.amount), currency=prices.currency),
            quantity=cost.tokens if has_quantity else None,
            quantity_unit="tokens" if has_quantity else None,
            **_unattributed(query.group_by),
            **cost.values,
        )

    return _build_page(times, next_page, found, to_result)


def get_other_usage(
    query: Annotated[UsageQuery, Query()], admin: AdminDep, session: ReadSessionDep
) -> BucketPage:
    """Answer with empty buckets: no model here does this."""
    times, next_page = _select_times(session, query, query.bucket_width, _limit(query))
    return _build_page(times, next_page, [], _completions)


for name in NOT_OFFERED:
    router.add_api_route(
        f"/usage/{name}", get_other_usage, methods=["GET"], name=f"get_{name}_usage"
    )


def _get_usage(
    session: Session,
    organization_id: str,
    query: GroupedUsageQuery,
    kind: UsageKind,
    to_result: Callable[[UsageGroup], CompletionsResult | EmbeddingsResult],
) -> BucketPage:
    times, next_page = _select_times(session, query, query.bucket_width, _limit(query))
    groups: list[UsageGroup] = []
    # Requests have keys but no users.
    if not query.user_ids:
        chosen = UsageFilter(
            organization_id=organization_id,
            kinds=[kind],
            project_ids=query.project_ids,
            api_key_ids=query.api_key_ids,
            models=query.models,
            batch=query.batch if isinstance(query, CompletionsUsageQuery) else None,
        )
        columns = [name for name in dict.fromkeys(query.group_by) if name in GROUP_COLUMNS]
        groups = sum_usage(session, chosen, times, columns)
    for group in groups:
        group.values.update(_unattributed(query.group_by))
    return _build_page(times, next_page, groups, to_result)


def _limit(query: UsageQuery) -> int:
    """Number of buckets on a page. Raises InvalidRequest beyond the most of their width."""
    most = MAX_BUCKETS[query.bucket_width]
    limit = DEFAULT_BUCKETS[query.bucket_width] if query.limit is None else query.limit
    if limit > most:
        raise InvalidRequest(
            f"Invalid 'limit': expected at most {most} buckets of '{query.bucket_width}', "
            f"but got {limit}.",
            param="limit",
        )
    return limit


def _select_times(
    session: Session, query: TimeQuery, width: BucketWidth, limit: int
) -> tuple[TimeRange, str | None]:
    end = query.end_time
    if end is None:
        end = max(int(clock.now(session).timestamp()) + 1, query.start_time)
    return select_page(start=query.start_time, end=end, width=width, limit=limit, page=query.page)


def _unattributed(group_by: Sequence[StrEnum]) -> dict[str, str]:
    """Values of groupings by which all requests are alike."""
    alike = {UsageGrouping.SERVICE_TIER: "default", UsageGrouping.API_SOURCE: "unlabeled"}
    return {str(name): value for name, value in alike.items() if name in group_by}


def _completions(group: UsageGroup) -> CompletionsResult:
    counts = group.counts
    uncached = counts.input_tokens - counts.cached_tokens
    return CompletionsResult(
        input_tokens=counts.input_tokens,
        input_cached_tokens=counts.cached_tokens,
        input_uncached_tokens=uncached,
        input_text_tokens=uncached,
        input_cached_text_tokens=counts.cached_tokens,
        output_tokens=counts.output_tokens,
        output_text_tokens=counts.output_tokens,
        num_model_requests=counts.requests,
        **_fields(group),
    )


def _embeddings(group: UsageGroup) -> EmbeddingsResult:
    return EmbeddingsResult(
        input_tokens=group.counts.input_tokens,
        num_model_requests=group.counts.requests,
        **_fields(group),
    )


def _fields(group: UsageGroup) -> dict[str, Any]:
    # Of work whose key a previous version did not keep.
    return {name: None if value == "" else value for name, value in group.values.items()}


def _build_page(
    times: TimeRange,
    next_page: str | None,
    groups: Sequence[Group],
    to_result: Callable[[Group], CompletionsResult | EmbeddingsResult | CostResult],
) -> BucketPage:
    by_bucket: defaultdict[int, list[Any]] = defaultdict(list)
    for group in groups:
        by_bucket[group.bucket].append(to_result(group))
    data = [
        Bucket(start_time=start, end_time=end, results=by_bucket[times.index(start)])
        for start, end in times.buckets()
    ]
    return BucketPage(data=data, has_more=next_page is not None, next_page=next_page)
