"""Exports of fine-tuned models: archives for other programs, made on request, kept for a time."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt, StrEnumType, Timestamp, format_sql_values


class ExportFormat(StrEnum):
    """Layout of an exported model.

    peft    the adapter, for the PEFT library
    merged  a whole causal model, for transformers and other engines
    gguf    a whole causal model in one file, for llama.cpp
    hf      a whole encoder or classifier, for transformers or sentence-transformers
    onnx    an encoder or classifier as a graph, for ONNX Runtime
    """

    PEFT = "peft"
    MERGED = "merged"
    GGUF = "gguf"
    HF = "hf"
    ONNX = "onnx"


class ExportState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    READY = "ready"
    # The format does not fit the model, or the conversion failed too often; see `error`.
    FAILED = "failed"


class ModelExport(Base):
    """One model in one format. `attempt` is the fencing token, as that of a job.

    Its archive can be made again at any time, so that backups leave it out.
    """

    __tablename__ = "model_exports"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    # No foreign key: the rows of deleted models go independently of their archives.
    model_name: Mapped[str]
    format: Mapped[ExportFormat] = mapped_column(StrEnumType(ExportFormat))
    # Of what the archive is made of, see `app.exports.service`; null in rows of earlier versions.
    fingerprint: Mapped[str | None]
    state: Mapped[ExportState] = mapped_column(StrEnumType(ExportState))
    attempt: Mapped[BigInt] = mapped_column(server_default="0")
    # Attempts since the last success that ended without a result.
    failures: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[CreatedAt]
    # Last time that somebody asked for it. One that nobody waits for is not made.
    wanted_at: Mapped[CreatedAt]
    started_at: Mapped[Timestamp | None]
    lease_until: Mapped[Timestamp | None]
    storage_key: Mapped[str | None]
    bytes: Mapped[BigInt | None]
    sha256: Mapped[str | None]
    # Sentence for the client why the model has no such export.
    error: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("model_name", "format"),
        CheckConstraint(f"format IN {format_sql_values(ExportFormat)}", name="format"),
        CheckConstraint(f"state IN {format_sql_values(ExportState)}", name="state"),
        Index(None, "project_id"),
    )
