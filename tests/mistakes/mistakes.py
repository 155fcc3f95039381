"""Seeded mistakes: small wrong changes to the product, each of which some test has to catch."""

from typing import NamedTuple

SIMULATION = ("-m", "minibox.simulation", "--jobs", "1", "--fail-fast", "--seeds")


class Edit(NamedTuple):
    """In ``file``, ``old`` (which stands there once) becomes ``new``."""

    file: str
    old: str
    new: str


class Mistake(NamedTuple):
    """What is wrong, the edits that make it so, and the arguments to Python that shall fail."""

    name: str
    edits: tuple[Edit, ...]
    check: tuple[str, ...]


def _seeds(seeds: str) -> tuple[str, ...]:
    return (*SIMULATION, seeds)


def _tests(*tests: str) -> tuple[str, ...]:
    return ("-m", "pytest", "-x", "-q", *tests)


_SINGLE_FAULTS = "tests/simulation/test_single_faults.py"

MISTAKES = (
    Mistake(
        "a node doesn't sync what it has appended",
        (
            Edit(
                "minibox/node/volumes.py",
                "        self._last.append(parts)\n        self._last.sync()\n",
                "        self._last.append(parts)\n",
            ),
        ),
        _seeds("0..20"),
    ),
    Mistake(
        "the directory entry of a new volume is not synced",
        (
            Edit(
                "minibox/node/volumes.py",
                "        file.sync()\n        self._disk.sync_directory(FOLDER)\n"
                "        self._last =",
                "        file.sync()\n        self._last =",
            ),
        ),
        _seeds("0..20"),
    ),
    Mistake(
        "a receipt is made before the chunk is durable",
        (
            Edit(
                "minibox/node/door.py",
                "        disks = await self._shelf.put(items)\n",
                "        disks = [self._shelf.stores[0].disk_id for _ in items]\n"
                "        going = Deferred.fromCoroutine(self._shelf.put(items))\n"
                "        going.addErrback(lambda _: None)\n",
            ),
        ),
        _seeds("0..60"),
    ),
    Mistake(
        "a commit is acknowledged at W - 1 holders",
        (
            Edit(
                "minibox/coordinator/commit.py",
                "have < safety.ack or",
                "have < safety.ack - 1 or",
            ),
        ),
        _seeds("0..60"),
    ),
    Mistake(
        "no reader and no node checks what was read",
        (
            Edit(
                "minibox/transfer/fetching.py",
                "    return digest.digest() == expected",
                "    return True",
            ),
            Edit(
                "minibox/node/check.py",
                "    return len(content) == held.length and crc32(content) == held.crc",
                "    return True",
            ),
        ),
        _tests(_SINGLE_FAULTS),
    ),
    Mistake(
        "the base of a commit is not compared",
        (
            Edit(
                "minibox/coordinator/commit.py",
                "base is not None and base == entry.etag and",
                "base is not None and base.split('.')[0] == entry.public_id and",
            ),
        ),
        _seeds("0..30"),
    ),
    Mistake(
        "a copy has no references",
        (
            Edit(
                "minibox/coordinator/folders.py",
                "    versions.add(writer, entry.id, version, chunks)\n",
                "    versions.add(writer, entry.id, version, ())\n",
            ),
        ),
        _seeds("0..20"),
    ),
    Mistake(
        "a copy is not charged to the quota",
        (
            Edit(
                "minibox/coordinator/folders.py",
                "    ledger.charge(head.content.size)\n",
                "",
            ),
        ),
        _seeds("0..20"),
    ),
    Mistake(
        "a purge gives no bytes back",
        (
            Edit(
                "minibox/coordinator/trash.py",
                "ledger.charge(-size,",
                "ledger.charge(0,",
            ),
        ),
        _seeds("0..40"),
    ),
    Mistake(
        "a purge leaves references",
        (
            Edit(
                "minibox/coordinator/references.py",
                "        _REFERENCES.delete(writer, chunk, file, version)\n",
                "",
            ),
        ),
        _seeds("0..40"),
    ),
    Mistake(
        "the disk's id is ignored when holders are counted",
        (
            Edit(
                "minibox/coordinator/holders.py",
                "if each.disk in standing.get(each.node, frozenset())",
                "if each.node in standing",
            ),
        ),
        _tests(_SINGLE_FAULTS),
    ),
    Mistake(
        "a fenced node takes writes",
        (
            Edit(
                "minibox/node/obedience.py",
                "        if self.is_fenced:\n            raise NodeFenced",
                "        if False:\n            raise NodeFenced",
            ),
        ),
        _tests("tests/node/test_obedience.py", "tests/node/test_door.py"),
    ),
    Mistake(
        "replay stops at the first damage",
        (
            Edit(
                "minibox/node/replay.py",
                "            offset = stop\n            continue\n",
                "            return\n",
            ),
        ),
        _tests("tests/node/test_recovery.py"),
    ),
    Mistake(
        "the row of an idempotency key is written after the operation's own transaction",
        (
            Edit(
                "minibox/coordinator/changes.py",
                "            return await self._store.write(once, frees=frees)\n",
                "            known = self.done(deed)\n"
                "            if known is not None:\n"
                "                return known\n"
                "            answer = await self._store.write(lambda w: _encode(numbered(w)))\n"
                "            await self._store.write(lambda w: idempotency.once(\n"
                "                w, deed.key, deed.request, deed.act.now, lambda: answer))\n"
                "            return answer\n",
            ),
        ),
        _tests(_SINGLE_FAULTS),
    ),
    Mistake(
        "a move is not in the journal",
        (
            Edit(
                "minibox/coordinator/folders.py",
                '        ledger.record("moved", entry, moved)\n',
                "        pass\n",
            ),
        ),
        _seeds("0..20"),
    ),
    Mistake(
        "the journal skips a number",
        (
            Edit(
                "minibox/coordinator/namespaces.py",
                "        sequence = self._row.sequence + 1\n",
                '        sequence = self._row.sequence + (2 if verb == "restored" else 1)\n',
            ),
        ),
        _seeds("0..60"),
    ),
    Mistake(
        "names that differ in case alone are two names",
        (
            Edit(
                "minibox/names.py",
                "    if name.isascii():\n        return name.lower()\n    unaccented",
                "    if name.isascii():\n        return name\n    unaccented",
            ),
        ),
        _seeds("0..20"),
    ),
    Mistake(
        "a folder can be moved into itself",
        (
            Edit(
                "minibox/coordinator/tree.py",
                "    if any(above.id == entry.id for above in line):\n",
                "    if False:\n",
            ),
        ),
        _tests(_SINGLE_FAULTS),
    ),
    Mistake(
        "a commit keeps the bytes that were promised to its lease",
        (
            Edit(
                "minibox/coordinator/commit.py",
                "        released = lease.reserved if ends_lease else",
                "        released = 0 if ends_lease else",
            ),
        ),
        _seeds("0..20"),
    ),
    Mistake(
        "the checksum of a record is not looked at",
        (
            Edit(
                "minibox/store/tables.py",
                "        if stored[:_CHECKSUM_BYTES] != _checksum(key, payload):\n",
                "        if False:\n",
            ),
        ),
        _tests(_SINGLE_FAULTS),
    ),
    Mistake(
        "a delete is refused where the metadata are full",
        (
            Edit(
                "minibox/store/memory.py",
                "            if self._full and not operation.frees:\n",
                "            if self._full:\n",
            ),
        ),
        _tests(_SINGLE_FAULTS),
    ),
    Mistake(
        "a version can be committed over one that came in the meantime",
        (
            Edit(
                "minibox/coordinator/commit.py",
                "        head=facts.head + 1,\n",
                "        head=max(1, facts.head),\n",
            ),
        ),
        _seeds("0..20"),
    ),
    Mistake(
        "a refused operation leaves what it has written",
        (
            Edit(
                "minibox/store/memory.py",
                "            if not operation.attempt(writer):\n                writer.undo()\n",
                "            operation.attempt(writer)\n",
            ),
        ),
        _tests("tests/contracts/test_store.py"),
    ),
    Mistake(
        "a put of a chunk that is here keeps the bad copy",
        (
            Edit(
                "minibox/node/batch.py",
                "    if is_good:\n",
                "    if is_good or not held.is_quarantined:\n",
            ),
        ),
        _tests("tests/node/test_chunks.py"),
    ),
    Mistake(
        "a lost commit goes unnoticed: the store goes on after a failed sync",
        (
            Edit(
                "minibox/store/groups.py",
                "                self._stop(problem)\n",
                "                pass\n",
            ),
        ),
        _tests(_SINGLE_FAULTS),
    ),
    Mistake(
        "a node that was lost and came back gets no missing copies",
        (
            Edit(
                "minibox/coordinator/repair.py",
                "        missing = debt.want - len(sources)\n",
                "        missing = 0\n",
            ),
        ),
        _tests(_SINGLE_FAULTS),
    ),
)
