"""Every secret that the tests use, and the search for it where no secret may be."""

import base64
import os
import re
import subprocess
import tempfile
from pathlib import Path

from tillmesh.runtime.secret import Secret

_kept: set[bytes] = set()
GREP = ("grep", "--recursive", "--files-with-matches", "--text", "--fixed-strings")
WHERE = ("--include=*.db*", "--include=*.log")


def keep(secret: str) -> str:
    """Notes a secret; no log and no database of this test run may show it."""
    _kept.add(secret.encode())
    return secret


def keep_bytes(secret: bytes) -> Secret:
    """The same for a key."""
    _kept.add(secret)
    return Secret(secret)


PIN = keep("73910462")
"""Of every payer in the tests; so distinctive that it stands nowhere by chance."""
NEW_PIN = keep("604417729385")
WRONG_PIN = keep("28846015")


def files_with_secrets(folder: Path) -> list[str]:
    """Logs and databases in which a secret stands as it is, in hexadecimal digits or in base64."""
    patterns = b"\n".join(sorted({pattern for secret in _kept for pattern in _spellings(secret)}))
    with tempfile.NamedTemporaryFile() as file:
        file.write(patterns)
        file.flush()
        command = [*GREP, *WHERE, f"--file={file.name}", str(folder)]
        done = subprocess.run(command, env=os.environ | {"LC_ALL": "C"}, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


def _spellings(secret: bytes) -> set[bytes]:
    """How it may be written. Of a raw key a part without the bytes that a list of patterns cannot hold will do."""
    raw = max(re.split(rb"[\n\0]", secret), key=len)
    spelled = {secret.hex().encode(), secret.hex().upper().encode()}
    for before in range(3):  # base64 has 6 bits a letter, so it depends on what stands before and after
        first, end = -(-8 * before // 6), 8 * (before + len(secret)) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            spelled.add(encode(bytes(before) + secret)[first:end])
    return {raw, *spelled}
