"""State machines as data: one table that code, diagrams, tests and CHECKs are made from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)

NO_HISTORY = bytes(32)
"""The hash before the first row of a record's history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stateful:
    """A record that moves along a lifecycle, and the end of its history."""

    state: StrEnum
    event_count: int = 1
    history_hash: bytes = NO_HISTORY
    created_at_ms: int
    updated_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One move of a record. Each kind of records adds what it tells of the record besides."""

    number: int
    event: str
    from_state: str | None
    to_state: str
    actor: str
    trace_id: str
    at_ms: int


@dataclass(frozen=True)
class Transition(Generic[State, Event]):
    """One legal move: in `state`, `event` leads to `target`."""

    state: State
    event: Event
    target: State
    why: str
    guard: str = ""
    """The further condition, in words."""
    error: str = ""
    """Reason of the refusal where the guard is not met."""


class Lifecycle(Generic[State, Event]):
    """The transition table of one record. What it does not list is not legal.

    Where it is not legal, an event is refused with its own reason in `never`, or with that of the state in `refused`;
    a state without one meets no such event.
    """

    def __init__(
        self,
        initial: State,
        events: type[Event],
        rows: Iterable[Transition[State, Event]],
        refused: Mapping[State, str],
        never: Mapping[Event, str] | None = None,
    ) -> None:
        self.initial = initial
        self.states = list(type(initial))
        self.events = list(events)
        self.rows = {(row.state, row.event): row for row in rows}
        self.refused = refused
        self.never = never or {}

    def is_legal(self, state: State, event: Event) -> bool:
        """True if the event may happen in that state."""
        return (state, event) in self.rows

    def target(self, state: State, event: Event) -> State:
        """The state that an event leads to; ValueError where it is not legal."""
        if (state, event) not in self.rows:
            raise ValueError(f"{event} is not legal in {state}")
        return self.rows[state, event].target

    def reason(self, state: State, event: Event) -> str:
        """The reason with which an event is refused in a state where it is not legal; empty where it never comes."""
        return self.never.get(event) or self.refused.get(state, "")

    def is_final(self, state: State) -> bool:
        """True for a state that nothing leaves."""
        return all(row.target is state for row in self.rows.values() if row.state is state)

    def mermaid(self) -> str:
        """The table as a Mermaid state diagram."""
        arrows = [f"    {row.state} --> {row.target}: {row.event}" for row in self.rows.values()]
        ends = [f"    {state} --> [*]" for state in self.states if self.is_final(state)]
        return "\n".join(["stateDiagram-v2", f"    [*] --> {self.initial}", *arrows, *ends])

    def markdown(self) -> str:
        """The table as Markdown, and what is refused in each state."""
        lines = ["| in | on | goes to | if | why |", "| --- | --- | --- | --- | --- |"]
        for row in self.rows.values():
            guard = f"{row.guard}, else `{row.error}`" if row.guard and row.error else row.guard
            lines.append(f"| {row.state} | {row.event} | {row.target} | {guard} | {row.why} |")
        lines += [f"| anything else | {event} | refused: `{reason}` | | |" for event, reason in self.never.items()]
        lines += [f"| {state} | anything else | refused: `{reason}` | | |" for state, reason in self.refused.items()]
        return "\n".join(lines)
