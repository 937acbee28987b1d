"""Identifiers: request ids that machines make, transaction numbers that people read."""

import random
import re
import uuid

IDENTIFIER = re.compile(r"[A-Za-z0-9._-]{1,64}")
IDENTIFIER_RULE = "must be 1 to 64 characters of A-Z a-z 0-9 . _ and -"
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # no I, L, O, U: safe to read aloud and to key in


SYSTEM_RNG: random.Random = random.SystemRandom()


def new_request_id(rng: random.Random = SYSTEM_RNG) -> str:
    """A UUID of version 4 (AIP-155)."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def new_transaction_number(rng: random.Random) -> str:
    """Twelve Crockford base-32 characters (60 bits) in three groups: "7K3M-9Q2X-VB4T"."""
    bits = rng.getrandbits(60)
    text = "".join(CROCKFORD[(bits >> shift) & 31] for shift in range(55, -5, -5))
    return "-".join(text[start : start + 4] for start in (0, 4, 8))
