"""Updates of a record: the mask that names what changes (AIP-134), and the version that was read."""

from collections.abc import Sequence

from google.protobuf import field_mask_pb2

from thirdparty_server.errors import Reason
from tillmesh.rpc.fields import Fields, shown


def require_version(resource: str, version: int, wanted: int) -> None:
    """Raises VERSION_MISMATCH if the caller read another version."""
    if version != wanted:
        raise Reason.VERSION_MISMATCH(resource=resource, version=version, wanted=wanted)


MASK_PATHS_MAX = 20


def update_mask(fields: Fields, mask: field_mask_pb2.FieldMask, allowed: Sequence[str]) -> frozenset[str]:
    """The fields that an update changes; one that nobody can change is named, and so is a mask without any."""
    known = ", ".join(allowed)
    count = len(mask.paths)
    fields.require(1 <= count <= MASK_PATHS_MAX, "update_mask", f"must name 1 to {MASK_PATHS_MAX} of {known}")
    for index, path in enumerate(mask.paths[:MASK_PATHS_MAX]):
        fields.require(path in allowed, f"update_mask.paths[{index}]", f"must be one of {known}, was {shown(path)}")
    return frozenset(mask.paths)
