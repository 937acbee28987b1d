"""Pay codes that shoppers showed: in memory, nowhere else, and gone with the process."""

from tillmesh.runtime.secret import Secret

PAY_CODES_MAX = 1_000
"""A shop has a handful of payments under way; beyond this the oldest code is lost, as in a restart."""


class PayCodes:
    """The codes of requests that the payment server has not answered yet, by their ids."""

    def __init__(self, at_most: int = PAY_CODES_MAX) -> None:
        self._at_most = at_most
        self._codes: dict[str, Secret] = {}

    def __len__(self) -> int:
        """The number of codes that are kept."""
        return len(self._codes)

    def keep(self, request_id: str, code: Secret) -> None:
        """Keeps a code until it is dropped."""
        self._codes[request_id] = code
        if len(self._codes) > self._at_most:
            del self._codes[next(iter(self._codes))]

    def find(self, request_id: str) -> Secret | None:
        """The code, if this process has it."""
        return self._codes.get(request_id)

    def drop(self, request_id: str) -> None:
        """Forgets a code, if there is one."""
        self._codes.pop(request_id, None)
