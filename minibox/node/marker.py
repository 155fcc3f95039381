"""The marker of a data directory: whose it is, so that a wrong or swapped disk is refused."""

from typing import NamedTuple

import msgspec
from isal.isal_zlib import crc32

from minibox.disk import Disk
from minibox.errors import DirectoryRefused, FormatTooNew
from minibox.node.volume import DISK_BYTES, FORMAT, SALT_BYTES, Identity
from minibox.world import RandomBytes

MARKER = "minibox-disk"

_HARMLESS = {"lost+found", f"{MARKER}.new"}
"""What may stand in a directory that counts as empty."""


class Claim(NamedTuple):
    """A data directory that this process may use. ``is_new``: it was empty until now."""

    identity: Identity
    is_new: bool


class _Format(msgspec.Struct, frozen=True):
    format: int


class _Marker(msgspec.Struct, frozen=True):
    """The file, in JSON. ``checksum`` is the CRC-32 of the JSON with a checksum of 0."""

    format: int
    cluster: str
    node: str
    disk: str
    salt: str
    checksum: int = 0

    def with_checksum(self) -> "_Marker":
        blank = msgspec.structs.replace(self, checksum=0)
        return msgspec.structs.replace(self, checksum=crc32(msgspec.json.encode(blank)))


def claim(disk: Disk, cluster: bytes, node: str, random_bytes: RandomBytes) -> Claim:
    """Lock the directory and check that it is this node's; an empty one becomes a new disk.

    Blocks. Raises DirectoryRefused if it is locked, of another cluster or node, full of something
    else or has a damaged marker; FormatTooNew; NoRoom; StoreStopped.
    """
    disk.lock()
    content = disk.read_small(MARKER)
    if content is not None:
        return Claim(_read(disk.directory, content, cluster, node), is_new=False)
    foreign = [name for name in disk.names() if name not in _HARMLESS]
    if foreign:
        raise DirectoryRefused(
            directory=disk.directory, reason=f"it has no marker but has {foreign[0]!r}"
        )
    identity = Identity(cluster, random_bytes(DISK_BYTES), random_bytes(SALT_BYTES))
    marker = _Marker(FORMAT, cluster.hex(), node, identity.disk.hex(), identity.salt.hex())
    disk.write_small(MARKER, msgspec.json.encode(marker.with_checksum()) + b"\n")
    return Claim(identity, is_new=True)


def _read(directory: str, content: bytes, cluster: bytes, node: str) -> Identity:
    try:
        found = msgspec.json.decode(content, type=_Format).format
        if found > FORMAT:
            raise FormatTooNew(directory=directory, found=found, known=FORMAT)
        marker = msgspec.json.decode(content, type=_Marker)
        identity = Identity(*map(bytes.fromhex, (marker.cluster, marker.disk, marker.salt)))
    except (msgspec.MsgspecError, ValueError) as problem:
        raise DirectoryRefused(directory=directory, reason="its marker is damaged") from problem
    if marker != marker.with_checksum():
        raise DirectoryRefused(directory=directory, reason="its marker is damaged")
    if identity.cluster != cluster:
        raise DirectoryRefused(directory=directory, reason="it belongs to another cluster")
    if marker.node != node:
        raise DirectoryRefused(directory=directory, reason=f"it belongs to node {marker.node!r}")
    return identity
