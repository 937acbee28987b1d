"""What of old payments may be pruned: their histories, and the tries of PINs whose requests were answered.

Such a request is answered from its id, whatever PIN it comes with. Sessions and pay codes leave nothing behind.
"""

from collections.abc import Sequence

from sqlalchemy import and_, bindparam, select

from thirdparty_server.payers.tables import pin_tries
from thirdparty_server.payments.tables import UNPRUNED, payment_history, payments, pruned
from thirdparty_server.schema import METADATA
from tillmesh.storage.pruning import Histories, Leftovers, Prunable

_requests = METADATA.tables["requests"]
# No EXISTS: for each page PostgreSQL would read all requests there are.
_answer = select(_requests.c.request_id).where(_requests.c.request_id == pin_tries.c.request_id).scalar_subquery()

PRUNABLE: Sequence[Prunable] = [
    Histories(payments, payment_history, pruned, UNPRUNED),
    Leftovers(pin_tries.c.request_id, and_(pin_tries.c.begun_at_ms < bindparam("before_ms"), _answer.is_not(None))),
]
