"""What the machine itself can do, measured in the same run: the ceiling of every other figure."""

import hashlib
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from minibox.operate.bench.measure import MIB

_HASHED_BYTES = 256 * MIB
_WRITTEN_BYTES = 256 * MIB
_APPENDS = 500
_SENT_BYTES = 1024 * MIB
_COPIES = 3


class Limits(msgspec.Struct, frozen=True):
    """Of one machine, in its state at the time of the run.

    ``copies_mib`` is user bytes when each is written three times and synced per MiB; ``appends``
    are 10 KiB writes with a sync each, ``loopback_mib`` one TCP connection, ``sha256_mib`` one
    core.
    """

    copies_mib: float
    appends: float
    loopback_mib: float
    sha256_mib: float


def measure_limits(folder: Path, seconds: Callable[[], float]) -> Limits:
    """Measure on the disk of ``folder``; takes a few seconds. ``seconds`` is a monotonic clock."""
    return Limits(
        copies_mib=round(_WRITTEN_BYTES / MIB / _timed(seconds, lambda: _write_copies(folder)), 1),
        appends=round(_APPENDS / _timed(seconds, lambda: _append(folder)), 1),
        loopback_mib=round(_SENT_BYTES / MIB / _timed(seconds, _send), 1),
        sha256_mib=round(_HASHED_BYTES / MIB / _timed(seconds, _hash), 1),
    )


def _timed(seconds: Callable[[], float], work: Callable[[], None]) -> float:
    began = seconds()
    work()
    return seconds() - began


def _write_copies(folder: Path) -> None:
    block = os.urandom(MIB)

    def write() -> None:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(_WRITTEN_BYTES // MIB):
                file.write(block)
                file.flush()
                os.fdatasync(file.fileno())

    writers = [threading.Thread(target=write) for _ in range(_COPIES)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


def _append(folder: Path) -> None:
    block = os.urandom(10 * 1024)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_APPENDS):
            file.write(block)
            os.fdatasync(file.fileno())


def _send() -> None:
    block = bytes(MIB)

    def send(sender: socket.socket) -> None:
        for _ in range(_SENT_BYTES // MIB):
            sender.sendall(block)

    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as sender,
        server.accept()[0] as receiver,
    ):
        sending = threading.Thread(target=send, args=(sender,))
        sending.start()
        space, left = bytearray(MIB), _SENT_BYTES
        while left:
            left -= receiver.recv_into(space)
        sending.join()


def _hash() -> None:
    block = os.urandom(MIB)
    for _ in range(_HASHED_BYTES // MIB):
        hashlib.sha256(block).digest()
