"""The one database of this server, and its request ids."""

from tillmesh.storage.requests import requests_table
from tillmesh.storage.schema import versioned

METADATA = versioned("0001")
requests_table(METADATA)
