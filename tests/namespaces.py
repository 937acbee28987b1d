"""Another network on this machine, with a link to it that can go down: the kernel acknowledges nothing then.

A proxy that swallows bytes cannot show that: its end of the connection goes on acknowledging.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

PORT = 5432
# Passes on to a socket of this machine, whose path is the same in every network.
FORWARD = """
import asyncio, sys

async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except OSError:
        pass
    writer.close()

async def join(reader, writer):
    far_reader, far_writer = await asyncio.open_unix_connection(sys.argv[2])
    await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

async def main():
    server = await asyncio.start_server(join, sys.argv[1], int(sys.argv[3]))
    print("ready", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@dataclass(frozen=True)
class Network:
    """Another network, where a socket of this machine answers at an address."""

    name: str
    address: str

    def down(self) -> None:
        """Takes the link down at the far end: from now on nothing arrives, and nobody is told."""
        _inside(self.name, "ip", "link", "set", self.name, "down")

    def up(self) -> None:
        """Brings the link back."""
        _inside(self.name, "ip", "link", "set", self.name, "up")


@contextmanager
def network(socket_path: str) -> Iterator[Network]:
    """Another network for the length of a block; skips the test where none can be made."""
    if shutil.which("ip") is None:
        pytest.skip("there is no ip (iproute2), which makes network namespaces")
    number = os.getpid() % 16384
    name = f"tillmesh{number}"
    near, far = (f"198.18.{number // 64}.{number % 64 * 4 + host}" for host in (1, 2))
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no network namespace can be made: {made.stderr.strip()}")
    try:
        link = subprocess.run(
            ["ip", "link", "add", f"{name}n", "type", "veth", "peer", "name", name, "netns", name],
            capture_output=True,
            text=True,
            check=False,
        )
        if link.returncode:
            pytest.skip(f"no link to a network namespace can be made: {link.stderr.strip()}")
        _run("ip", "address", "add", f"{near}/30", "dev", f"{name}n")
        _run("ip", "link", "set", f"{name}n", "up")
        _inside(name, "ip", "address", "add", f"{far}/30", "dev", name)
        _inside(name, "ip", "link", "set", name, "up")
        forward = [sys.executable, "-c", FORWARD, far, socket_path, str(PORT)]
        with subprocess.Popen(["ip", "netns", "exec", name, *forward], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                assert process.stdout.readline() == "ready\n"
                yield Network(name, far)
            finally:
                process.kill()
    finally:
        _run("ip", "netns", "delete", name)


def _inside(name: str, *command: str) -> None:
    _run("ip", "netns", "exec", name, *command)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
