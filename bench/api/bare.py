"""Bare FastAPI routes that read the same rows with the same driver: no keys, limits or shapes."""

import os
from typing import Any

import orjson
from fastapi import FastAPI, Request
from sqlalchemy import create_engine, make_url, text

PROJECT = "BENCH_PROJECT"
ONE = "SELECT * FROM jobs WHERE id = :id AND project_id = :project"
PAGE = """SELECT * FROM jobs WHERE project_id = :project {} ORDER BY created_at DESC, id DESC
LIMIT 21"""
BEHIND = "AND (created_at, id) < (SELECT created_at, id FROM jobs WHERE id = :after)"
HAVING = "AND user_metadata @> cast(:metadata AS jsonb)"


def create_app() -> FastAPI:
    app, project = FastAPI(), os.environ[PROJECT]
    url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg")
    engine = create_engine(url, pool_size=10, max_overflow=10)

    def rows(statement: str, **values: Any) -> list[dict[str, Any]]:
        with engine.connect() as connection:
            found = connection.execute(text(statement), values | {"project": project})
            return [dict(row) for row in found.mappings()]

    @app.get("/v1/fine_tuning/jobs/{job_id}")
    def retrieve(job_id: str) -> dict[str, Any]:
        return rows(ONE, id=job_id)[0]

    @app.get("/v1/fine_tuning/jobs")
    def page(request: Request, after: str | None = None) -> dict[str, Any]:
        for name, value in request.query_params.items():
            if name.startswith("metadata["):
                metadata = orjson.dumps({name[9:-1]: value}).decode()
                found = rows(PAGE.format(HAVING), metadata=metadata)
                return {"data": found[:20], "has_more": len(found) > 20}
        found = rows(PAGE.format(BEHIND if after else ""), after=after)
        return {"data": found[:20], "has_more": len(found) > 20}

    return app
