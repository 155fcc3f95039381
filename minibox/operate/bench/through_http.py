"""The work of people and tools: files through the HTTP door, one blocking connection a process."""

import hashlib
import http.client
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from time import monotonic
from typing import TypeVar
from urllib.parse import quote, urlsplit

from minibox.operate.bench.limits import Limits
from minibox.operate.bench.measure import MIB, Measure, Scale, median_of

_BLOCK_BYTES = MIB
_LISTS = 7
_TIMEOUT_SECONDS = 300


def measure_http(
    url: str, token: str, scale: Scale, passes: int, limits: Limits, tell: Callable[[str], None]
) -> list[Measure]:
    """All measures of the HTTP door; ``tell`` hears what is being done."""
    seen: dict[str, list[float]] = {}
    latencies: dict[str, list[float]] = {}
    context = get_context("spawn")
    all_are_there = context.Barrier(scale.connections)
    with ProcessPoolExecutor(
        scale.connections, context, initializer=all_are_there.wait
    ) as processes:
        list(processes.map(int, range(scale.connections)))
        for turn in range(passes):
            tell(f"HTTP, pass {turn + 1} of {passes}")
            for name, value, waits in _pass(processes, url, token, scale, turn):
                seen.setdefault(name, []).append(value)
                latencies.setdefault(name, []).extend(waits)
    copies = ("three synced copies", limits.copies_mib)
    hashed = ("SHA-256 on one core", limits.sha256_mib)
    appends = ("synced appends", limits.appends)
    rows = (
        ("PUT one big file", "MiB/s", copies),
        ("GET it", "MiB/s", hashed),
        ("PUT middle files at once", "MiB/s", copies),
        ("GET middle files at once", "MiB/s", hashed),
        ("PUT small files", "files/s", appends),
        ("GET small files", "files/s", None),
        ("list them", "ms", None),
    )
    return [median_of(name, unit, seen[name], latencies[name], limit) for name, unit, limit in rows]


_Row = tuple[str, float, Sequence[float]]


def _pass(
    processes: ProcessPoolExecutor, url: str, token: str, scale: Scale, turn: int
) -> Iterator[_Row]:
    folder = f"bench-{os.urandom(4).hex()}-{turn}"
    for label, files, size in (
        ("{} one big file", 1, scale.big_bytes),
        ("{} middle files at once", scale.middle_files, scale.middle_bytes),
    ):
        paths = [f"/{folder}/{size}-{number}" for number in range(files)]
        jobs = [(url, token, path, size) for path in paths]
        took, digests = _all(processes, _put_large, jobs)
        yield label.format("PUT"), files * size / MIB / took, ()
        took, found = _all(processes, _get_large, jobs)
        if found != digests:
            raise RuntimeError("what was read is not what was written")
        yield "GET it" if files == 1 else label.format("GET"), files * size / MIB / took, ()
    each = scale.small_files // scale.connections
    small = [(url, token, f"/{folder}/small/{n}-", each, scale) for n in range(scale.connections)]
    for label, work in (("PUT small files", _put_small), ("GET small files", _get_small)):
        took, waits = _all(processes, work, small)
        flat = [wait for part in waits for wait in part]
        yield label, len(flat) / took, flat
    yield "list them", _list(url, token, f"/{folder}/small") * 1000, ()
    _Connection(url, token).ask("DELETE", f"/{folder}", "?permanent=true")


Job = TypeVar("Job")
Found = TypeVar("Found")


def _all(
    processes: ProcessPoolExecutor, work: Callable[[Job], Found], jobs: Sequence[Job]
) -> tuple[float, list[Found]]:
    """From the begin of the first to the end of the last; starting processes doesn't count."""
    done = list(processes.map(_timed, [work] * len(jobs), jobs))
    began, ended = min(each[0] for each in done), max(each[1] for each in done)
    return ended - began, [each[2] for each in done]


def _timed(work: Callable[[Job], Found], job: Job) -> tuple[float, float, Found]:
    """The clock is the machine's, the same in all processes."""
    began = monotonic()
    found = work(job)
    return began, monotonic(), found


class _Connection:
    def __init__(self, url: str, token: str) -> None:
        place = urlsplit(url)
        kind = (
            http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        )
        self._http = kind(
            place.hostname or "", place.port, timeout=_TIMEOUT_SECONDS, blocksize=_BLOCK_BYTES
        )
        self._headers = {"Authorization": f"Bearer {token}"}

    def ask(
        self, method: str, path: str, query: str = "", body: object = None, length: int = 0
    ) -> http.client.HTTPResponse:
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Length"] = str(length)
        address = path if path.startswith("/api") else f"/api/files/content{quote(path)}"
        self._http.request(method, address + query, body, headers)  # type: ignore[arg-type]
        response = self._http.getresponse()
        if response.status >= http.HTTPStatus.MULTIPLE_CHOICES:
            raise RuntimeError(f"{method} {path}: {response.status} {response.read()[:300]!r}")
        return response


def _put_large(job: tuple[str, str, str, int]) -> str:
    url, token, path, size = job
    block = os.urandom(_BLOCK_BYTES)
    digest = hashlib.sha256()

    def blocks() -> Iterator[bytes]:
        for number in range(size // _BLOCK_BYTES):
            made = number.to_bytes(8, "big") + block[8:]  # no two alike, and cheap to make
            digest.update(made)
            yield made

    _Connection(url, token).ask("PUT", path, body=blocks(), length=size).read()
    return digest.hexdigest()


def _get_large(job: tuple[str, str, str, int]) -> str:
    url, token, path, _ = job
    response = _Connection(url, token).ask("GET", path)
    digest, space = hashlib.sha256(), bytearray(_BLOCK_BYTES)
    view = memoryview(space)
    while taken := response.readinto(space):
        digest.update(view[:taken])
    return digest.hexdigest()


_SmallJob = tuple[str, str, str, int, Scale]


def _put_small(job: _SmallJob) -> list[float]:
    url, token, prefix, files, scale = job
    connection, rest = _Connection(url, token), os.urandom(scale.small_bytes - 8)
    waits = []
    for number in range(files):
        content = number.to_bytes(8, "big") + rest
        began = monotonic()
        connection.ask("PUT", f"{prefix}{number}", body=content, length=len(content)).read()
        waits.append(monotonic() - began)
    return waits


def _get_small(job: _SmallJob) -> list[float]:
    url, token, prefix, files, scale = job
    connection = _Connection(url, token)
    waits = []
    for number in range(files):
        began = monotonic()
        content = connection.ask("GET", f"{prefix}{number}").read()
        waits.append(monotonic() - began)
        if len(content) != scale.small_bytes or content[:8] != number.to_bytes(8, "big"):
            raise RuntimeError("what was read is not what was written")
    return waits


def _list(url: str, token: str, folder: str) -> float:
    connection = _Connection(url, token)
    waits = []
    for _ in range(_LISTS):
        began = monotonic()
        query = f"?path={quote(folder)}&per_page=5000"
        json.loads(connection.ask("GET", "/api/files/list", query).read())
        waits.append(monotonic() - began)
    return sorted(waits)[_LISTS // 2]
