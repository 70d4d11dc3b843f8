"""Bare FastAPI routes over the same rows and driver: no keys, limits or response schemas."""

import os
from typing import Any

import orjson
from fastapi import FastAPI, Request
from sqlalchemy import create_engine, make_url, text

PROJECT_VARIABLE = "BENCH_PROJECT"
SELECT_JOB = "SELECT * FROM jobs WHERE id = :id AND project_id = :project"
SELECT_PAGE = """SELECT * FROM jobs WHERE project_id = :project {} ORDER BY created_at DESC, id DESC
LIMIT 21"""
AFTER_CURSOR = "AND (created_at, id) < (SELECT created_at, id FROM jobs WHERE id = :after)"
WITH_METADATA = "AND user_metadata @> cast(:metadata AS jsonb)"


def create_app() -> FastAPI:
    app, project = FastAPI(), os.environ[PROJECT_VARIABLE]
    url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg")
    engine = create_engine(url, pool_size=10, max_overflow=10)

    def fetch(statement: str, **values: Any) -> list[dict[str, Any]]:
        with engine.connect() as connection:
            result = connection.execute(text(statement), values | {"project": project})
            return [dict(row) for row in result.mappings()]

    @app.get("/v1/fine_tuning/jobs/{job_id}")
    def retrieve(job_id: str) -> dict[str, Any]:
        return fetch(SELECT_JOB, id=job_id)[0]

    @app.get("/v1/fine_tuning/jobs")
    def page(request: Request, after: str | None = None) -> dict[str, Any]:
        for name, value in request.query_params.items():
            if name.startswith("metadata["):
                metadata = orjson.dumps({name[9:-1]: value}).decode()
                rows = fetch(SELECT_PAGE.format(WITH_METADATA), metadata=metadata)
                return {"data": rows[:20], "has_more": len(rows) > 20}
        rows = fetch(SELECT_PAGE.format(AFTER_CURSOR if after else ""), after=after)
        return {"data": rows[:20], "has_more": len(rows) > 20}

    return app
