"""Traffic of fine-tuned models: hourly counts, and recent predictions."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, JsonList, JsonObject, Timestamp


class ModelTrafficHour(Base):
    """Counts of a model in one hour; `counts` maps measures to counts by histogram bin.

    No foreign key, since models are written in batches: a deleted model must not fail its batch.
    """

    __tablename__ = "model_traffic_hourly"

    model: Mapped[str] = mapped_column(primary_key=True)
    hour: Mapped[Timestamp] = mapped_column(primary_key=True)
    counts: Mapped[JsonObject]

    __table_args__ = (Index(None, "hour"),)


class Prediction(Base):
    """One response of a classifier, for later feedback: label indexes, and no text.

    `predicted_labels` has those of each of its texts, `true_labels` those from feedback, or null.
    """

    __tablename__ = "predictions"

    request_id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    # The id in the response's body, for clients that do not expose headers.
    response_id: Mapped[str | None]
    predicted_labels: Mapped[JsonList]
    true_labels: Mapped[JsonList]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        Index(None, "model", "created_at"),
        Index(None, "response_id"),
        Index(None, "created_at"),
    )
