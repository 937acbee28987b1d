"""Keeps a mesh running: starts again what died, renews certificates, and goes on where it cannot."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tillmesh.client.failures import Failure
from tillmesh.local.authority import LIFETIME
from tillmesh.local.mesh import Mesh
from tillmesh.local.processes import ServerName

PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 30.0
RUNS_WELL_S = 60.0
"""A server that ran so long before it died is started again after the first pause."""
RENEW_AFTER_S = LIFETIME.total_seconds() / 3
RENEW_AGAIN_S = 60.0
"""When certificates are tried again that could not be written."""


@dataclass
class _Ward:
    """What is known of one server."""

    started_at: float
    pause_s: float = PAUSE_FIRST_S
    restart_at: float | None = None


class Keeper:
    """Looks after a running mesh; `say` tells a person one line."""

    def __init__(self, mesh: Mesh, say: Callable[[str], None], *, renew_after_s: float = RENEW_AFTER_S) -> None:
        self._mesh = mesh
        self._say = say
        self._renew_after_s = renew_after_s
        self._renew_at = time.time() + renew_after_s
        self._wards = {role: _Ward(time.monotonic()) for role in ServerName}

    def look(self) -> None:
        """Does what there is to do now."""
        for role, ward in self._wards.items():
            self._look_after(role, ward)
        if time.time() >= self._renew_at:
            self._renew()

    def keep_away(self, role: ServerName, seconds: float, *, gently: bool = False) -> None:
        """Ends a server, with kill -9 unless it may stop gently, and starts it again after that time."""
        if gently:
            self._mesh.stop_one(role)
        else:
            self._mesh.kill(role)
        self._wards[role].restart_at = time.monotonic() + seconds

    def bring_back(self, role: ServerName) -> None:
        """Starts a server now, wherever it is kept away."""
        self._mesh.restart(role)
        self._wards[role] = _Ward(time.monotonic())

    def start_empty(self) -> None:
        """Starts all servers anew, without anything that they kept."""
        now = time.monotonic()
        self._wards = {role: _Ward(now, restart_at=now) for role in ServerName}  # what does not start is tried again
        self._mesh.start_empty()
        self._wards = {role: _Ward(time.monotonic()) for role in ServerName}

    def _look_after(self, role: ServerName, ward: _Ward) -> None:
        now = time.monotonic()
        if ward.restart_at is None:
            if end := self._mesh.processes[role].end():
                if now - ward.started_at >= RUNS_WELL_S:
                    ward.pause_s = PAUSE_FIRST_S
                self._restart_later(ward, end)
        elif now >= ward.restart_at:
            self._restart(role, ward)

    def _restart(self, role: ServerName, ward: _Ward) -> None:
        try:
            self._mesh.restart(role)
        except (Failure, OSError) as error:
            self._restart_later(ward, " ".join(str(error).split()))
            return
        ward.restart_at = None
        ward.started_at = time.monotonic()
        self._say(f"{role} runs again, as process {self._mesh.processes[role].pid}.")

    def _restart_later(self, ward: _Ward, why: str) -> None:
        self._say(f"{why}; it starts again in {ward.pause_s:g} s.")
        ward.restart_at = time.monotonic() + ward.pause_s
        ward.pause_s = min(PAUSE_MAX_S, ward.pause_s * 2)

    def _renew(self) -> None:
        try:
            self._mesh.renew_certificates()
        except (Failure, OSError) as error:
            self._say(f"The certificates could not be renewed: {error}; the next try is in {RENEW_AGAIN_S:g} s.")
            self._renew_at = time.time() + RENEW_AGAIN_S
        else:
            self._renew_at = time.time() + self._renew_after_s
