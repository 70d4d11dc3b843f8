"""Rules for members of an object, or arguments of a call, between delimiters."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.inference.grammar.lark import NOTHING
from worker.inference.grammar.rule_list import RuleList


@dataclass(frozen=True, slots=True)
class MemberDelimiters:
    """Expressions around members.

    first    before the first key
    next     from a value to the next key
    end      after the last value
    empty    instead of all, if there is no member
    """

    first: str
    next: str
    end: str
    empty: str


@dataclass(frozen=True, slots=True)
class Member:
    """The rule of a member, with its key."""

    rule: str
    is_required: bool


def write_members(members: Sequence[Member], delimiters: MemberDelimiters, rules: RuleList) -> str:
    """Write members in their order, those that are not required or not; returns an expression."""
    if not members:
        return delimiters.empty
    first, end = delimiters.first, delimiters.end
    required = next((i for i, member in enumerate(members) if member.is_required), None)
    if required is None:
        some = f"{first} {_write_some(members, delimiters, rules)} {end}"
        return f"({delimiters.empty} | {some})"
    before = [f"({member.rule} {delimiters.next})?" for member in members[:required]]
    after = [_write_next(member, delimiters) for member in members[required + 1 :]]
    return " ".join([first, *before, members[required].rule, *after, end])


def write_free_members(member: str, delimiters: MemberDelimiters) -> str:
    """Write any number of members of one kind."""
    some = f"{delimiters.first} {member} ({delimiters.next} {member})* {delimiters.end}"
    return f"({delimiters.empty} | {some})"


def _write_next(member: Member, delimiters: MemberDelimiters) -> str:
    written = f"({delimiters.next} {member.rule})"
    return written if member.is_required else f"{written}?"


def _write_some(members: Sequence[Member], delimiters: MemberDelimiters, rules: RuleList) -> str:
    """Write at least one of members that are not required, by a number of rules that is linear."""
    begun, rest = "", NOTHING
    for member in reversed(members):
        here = f"{member.rule} {rest}"
        begun = rules.add(f"{here} | {begun}" if begun else here)
        rest = rules.add(f"{_write_next(member, delimiters)} {rest}")
    return begun
