"""What tuned models were asked: counts by the hour, and for some days which answer was which."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, JsonList, JsonObject, Timestamp


class ModelTrafficHour(Base):
    """`counts` has measures, each with how often its bins were hit. No foreign key: the counts of
    other models must not be lost for one."""

    __tablename__ = "model_traffic_hourly"

    model: Mapped[str] = mapped_column(primary_key=True)
    hour: Mapped[Timestamp] = mapped_column(primary_key=True)
    counts: Mapped[JsonObject]

    __table_args__ = (Index(None, "hour"),)


class Prediction(Base):
    """One answer of a classifier, for feedback to name: places of labels, and no text.

    `found` has the labels of each of its texts, `truth` those that feedback gave, or null.
    """

    __tablename__ = "predictions"

    request_id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    # The id in the answer's body, for clients that do not show headers.
    response_id: Mapped[str | None]
    predicted_labels: Mapped[JsonList]
    true_labels: Mapped[JsonList]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        Index(None, "model", "created_at"),
        Index(None, "response_id"),
        Index(None, "created_at"),
    )
