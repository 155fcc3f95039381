"""The work of the client library: chunks straight to nodes, many small files in batches."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from minibox.client import Client
from minibox.operate.bench.limits import Limits
from minibox.operate.bench.measure import MIB, Measure, Scale, median_of

_FILES_A_FOLDER = 500


def measure_library(
    client: Client, scale: Scale, passes: int, limits: Limits, tell: Callable[[str], None]
) -> list[Measure]:
    """All measures of the library; its files are made in the system's temporary folder."""
    seen: dict[str, list[float]] = {"put": [], "get": [], "put -r": [], "get -r": []}
    for turn in range(passes):
        tell(f"library, pass {turn + 1} of {passes}")
        with TemporaryDirectory(prefix="minibox-bench-") as folder:
            _one_file(client, Path(folder), scale, seen)
            _one_tree(client, Path(folder), scale, seen)
    copies = ("three synced copies", limits.copies_mib)
    hashed = ("SHA-256 on one core", limits.sha256_mib)
    return [
        median_of("library: put a large file", "MiB/s", seen["put"], limit=copies),
        median_of("library: get it", "MiB/s", seen["get"], limit=hashed),
        median_of("library: put -r small files", "files/s", seen["put -r"]),
        median_of("library: get -r them", "files/s", seen["get -r"]),
    ]


def _one_file(client: Client, folder: Path, scale: Scale, seen: dict[str, list[float]]) -> None:
    source, remote = folder / "large", f"/bench-{os.urandom(4).hex()}"
    with source.open("wb") as file:
        for _ in range(scale.library_bytes // MIB):
            file.write(os.urandom(MIB))
    began = monotonic()
    client.put(source, remote)
    seen["put"].append(scale.library_bytes / MIB / (monotonic() - began))
    began = monotonic()
    client.get(remote, folder / "back")
    seen["get"].append(scale.library_bytes / MIB / (monotonic() - began))
    client.rm(remote, permanent=True)
    source.unlink()
    (folder / "back").unlink()


def _one_tree(client: Client, folder: Path, scale: Scale, seen: dict[str, list[float]]) -> None:
    source, remote = folder / "tree", f"/bench-{os.urandom(4).hex()}"
    rest = os.urandom(scale.small_bytes - 8)
    for number in range(scale.tree_files):
        place = source / str(number // _FILES_A_FOLDER)
        place.mkdir(parents=True, exist_ok=True)
        (place / str(number)).write_bytes(number.to_bytes(8, "big") + rest)
    began = monotonic()
    client.put_tree(source, remote)
    seen["put -r"].append(scale.tree_files / (monotonic() - began))
    began = monotonic()
    client.get_tree(remote, folder / "tree-back")
    seen["get -r"].append(scale.tree_files / (monotonic() - began))
    client.rm(remote, permanent=True)
    shutil.rmtree(source)
    shutil.rmtree(folder / "tree-back")
