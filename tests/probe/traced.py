"""System calls as strace saw them: what began and ended in which order, with what bytes, where."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

READS = {"read", "readv", "recvfrom", "recvmsg"}
WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg"}
SYNCS = {"fsync", "fdatasync", "msync"}

MAX_BYTES = 4096
"""Of each buffer so much is in the trace."""

_LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>(.*)|(\w+)\((.*))")
_UNFINISHED = " <unfinished ...>"
_DESCRIPTOR = re.compile(r"(\d+)<(.*?)>(?=[,)])")
_QUOTED = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_OPENED = re.compile(r"(O_[A-Z_|]+).*= (\d+)<")


class Call(NamedTuple):
    """One system call. ``begins`` and ``ends`` order it among all of the trace."""

    name: str
    where: str
    data: bytes
    result: str
    synchronous: bool
    begins: int
    ends: int

    def is_on_port(self, port: int) -> bool:
        """Whether this is a socket of somebody who came in by this port."""
        return f"127.0.0.1:{port}->" in self.where


def strace(trace: Path) -> tuple[str, ...]:
    """What to put before a command so that its calls are written to ``trace``."""
    calls = ",".join(sorted({"openat"} | READS | WRITES | SYNCS))
    options = ("-f", "-yy", "-xx", "-s", str(MAX_BYTES), "--seccomp-bpf", "-e", f"trace={calls}")
    return ("strace", *options, "-o", str(trace))


def calls(trace: Path) -> list[Call]:
    """All calls of a trace that have ended, in the order in which they began."""
    return sorted(_calls(trace.read_text()), key=lambda call: call.begins)


def _calls(text: str) -> Iterator[Call]:
    begun: dict[str, tuple[int, str, str]] = {}
    synchronous: set[str] = set()
    for number, line in enumerate(text.splitlines()):
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        thread, resumed, rest, name, arguments = match.groups()
        if resumed is not None:
            begins, name, former = begun.pop(thread, (number, resumed, ""))
            arguments = former + rest
        elif arguments.endswith(_UNFINISHED):
            begun[thread] = number, name, arguments.removesuffix(_UNFINISHED)
            continue
        else:
            begins = number
        if name == "openat":
            _note_opened(arguments, synchronous)
            continue
        descriptor = _DESCRIPTOR.match(arguments)
        place = descriptor[2] if descriptor else ""
        yield Call(
            name=name,
            where=_plain(place).decode(errors="replace") if place.startswith("\\x") else place,
            data=b"".join(_plain(each) for each in _QUOTED.findall(arguments)),
            result=arguments.rpartition(" = ")[2],
            synchronous=descriptor is not None and descriptor[1] in synchronous,
            begins=begins,
            ends=number,
        )


def _note_opened(arguments: str, synchronous: set[str]) -> None:
    """Remember which descriptors make each write durable before it returns."""
    opened = _OPENED.search(arguments)
    if opened is None:
        return
    flags, descriptor = opened.groups()
    if {"O_SYNC", "O_DSYNC"} & set(flags.split("|")):
        synchronous.add(descriptor)
    else:
        synchronous.discard(descriptor)


def _plain(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
