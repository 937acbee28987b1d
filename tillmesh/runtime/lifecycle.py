"""State machines as data: one table that code, diagrams, tests and CHECKs are made from."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)


@dataclass(frozen=True)
class Transition(Generic[State, Event]):
    """One row: in `state`, `event` leads to `target`, or is refused where that is None."""

    state: State
    event: Event
    target: State | None
    why: str
    guard: str = ""
    """The further condition, in words."""
    error: str = ""
    """Reason of the refusal: of the event where there is no target, else of the guard."""


class Lifecycle(Generic[State, Event]):
    """The transition table of one record; every state meets every event."""

    def __init__(self, initial: State, events: type[Event], rows: Iterable[Transition[State, Event]]) -> None:
        self.initial = initial
        self.states = list(type(initial))
        self.events = list(events)
        self.rows = {(row.state, row.event): row for row in rows}

    def __getitem__(self, key: tuple[State, Event]) -> Transition[State, Event]:
        return self.rows[key]

    def is_final(self, state: State) -> bool:
        """True for a state that nothing leaves."""
        return all(self[state, event].target in (None, state) for event in self.events)

    def mermaid(self) -> str:
        """The table as a Mermaid state diagram."""
        arrows = [f"    {row.state} --> {row.target}: {row.event}" for row in self.rows.values() if row.target]
        ends = [f"    {state} --> [*]" for state in self.states if self.is_final(state)]
        return "\n".join(["stateDiagram-v2", f"    [*] --> {self.initial}", *arrows, *ends])

    def markdown(self) -> str:
        """The table as Markdown: legal events first, then the refusals."""
        lines = ["| in | on | goes to | if | why |", "| --- | --- | --- | --- | --- |"]
        for row in sorted(self.rows.values(), key=lambda row: row.target is None):
            target = row.target or f"refused: `{row.error}`"
            guard = f"{row.guard}, else `{row.error}`" if row.guard and row.error and row.target else row.guard
            lines.append(f"| {row.state} | {row.event} | {target} | {guard} | {row.why} |")
        return "\n".join(lines)
