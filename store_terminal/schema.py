"""The one database of this server, and its request ids."""

from tillmesh.storage.requests import RequestLog
from tillmesh.storage.schema import versioned

METADATA = versioned("0001")
REQUESTS = RequestLog(METADATA)
