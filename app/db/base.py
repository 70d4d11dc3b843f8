"""Base class of all tables: constraint naming convention, column shorthands, enum columns."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar

from sqlalchemy import BigInteger, DateTime, Dialect, MetaData, String, TypeDecorator, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

E = TypeVar("E", bound=StrEnum)

# Timestamps are compared by the database's clock only, so that machines' clocks do not matter.
Timestamp = Annotated[datetime, mapped_column(DateTime(timezone=True))]
CreatedAt = Annotated[
    datetime, mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())
]
BigInt = Annotated[int, mapped_column(BigInteger)]
# None is NULL: by default it would be stored as the JSON null, which IS NULL does not find.
JsonObject = Annotated[dict[str, Any], mapped_column(JSONB(none_as_null=True))]
JsonList = Annotated[list[Any], mapped_column(JSONB(none_as_null=True))]


class StrEnumType(TypeDecorator[E], Generic[E]):
    """A VARCHAR column that loads as members of a StrEnum; tables declare their own CHECK.

    During an upgrade a newer process may store a value that this version does not know. It loads as
    a member that equals no other, so that a query over many rows does not fail because of one.
    """

    impl = String
    cache_ok = True

    def __init__(self, enum: type[E]) -> None:
        super().__init__()
        # Named after the parameter, which makes it part of the statement cache key.
        self.enum = enum

    def process_result_value(self, value: Any, dialect: Dialect) -> E | None:
        if value is None:
            return None
        try:
            return self.enum(value)
        except ValueError:
            return _make_unknown_member(self.enum, value)


def _make_unknown_member(enum: type[E], value: str) -> E:
    member = str.__new__(enum, value)
    member._name_ = value
    member._value_ = value
    return member


def format_sql_values(enum: type[StrEnum]) -> str:
    """Format an enum's values as a SQL list, for CHECK constraints."""
    return "(" + ", ".join(f"'{member}'" for member in enum) + ")"


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
