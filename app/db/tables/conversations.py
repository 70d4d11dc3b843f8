"""Conversations: lists of items that clients keep here, and that responses may continue."""

from sqlalchemy import ForeignKey, Index, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt, JsonObject


class Conversation(Base):
    """A conversation. `items` and `bytes` count what it has, `last_number` what it ever had.

    `updated_at` is when items or metadata last changed. Its row is locked by whoever changes it.
    """

    __tablename__ = "conversations"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    user_metadata: Mapped[JsonObject]
    last_number: Mapped[int]
    items: Mapped[int]
    bytes: Mapped[BigInt]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]

    __table_args__ = (Index(None, "project_id"), Index(None, "updated_at"))


class ConversationItem(Base):
    """An item, in its one form on the wire, as JSON: JSONB has no NUL in texts.

    `number` is its place in the conversation. Ids are unique within it, as clients may choose them.
    """

    __tablename__ = "conversation_items"

    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str]
    body: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    bytes: Mapped[int]

    __table_args__ = (UniqueConstraint("conversation_id", "id"),)
