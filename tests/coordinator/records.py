"""Record modules on a plain dictionary: each operation a transaction, run where it stands."""

import hashlib
from bisect import bisect_left, insort

from minibox.chunk import ChunkId, ChunkRef
from minibox.coordinator import holders, journal, namespaces, references, trash, tree, versions
from minibox.coordinator.commit import Conditions, Destination, Safety, Staged, commit
from minibox.coordinator.holders import Holder
from minibox.coordinator.journal import Act
from minibox.coordinator.namespaces import Ledger
from minibox.coordinator.versions import Content
from minibox.identity import FreshIds
from minibox.manifest import EMPTY_SHA256
from minibox.store.interface import MAX_KEY_BYTES

DISKS = {name: frozenset({name.encode()}) for name in ("n1", "n2", "n3")}
COPIES, ACK = 3, 2


class Rows:
    """A reader and writer over a dictionary."""

    def __init__(self):
        self.values = {}
        self.keys = []

    def get(self, key):
        return self.values.get(key)

    def scan(self, start, stop, *, reverse=False):
        while True:
            if reverse:
                place = bisect_left(self.keys, stop) - 1
                if place < 0 or self.keys[place] < start:
                    return
                stop = self.keys[place]
                yield stop, self.values[stop]
            else:
                place = bisect_left(self.keys, start)
                if place == len(self.keys) or self.keys[place] >= stop:
                    return
                key = self.keys[place]
                yield key, self.values[key]
                start = key + b"\0"

    def put(self, key, value):
        assert 0 < len(key) <= MAX_KEY_BYTES
        if key not in self.values:
            insort(self.keys, key)
        self.values[key] = bytes(value)

    def delete(self, key):
        if key not in self.values:
            return False
        del self.values[key]
        del self.keys[bisect_left(self.keys, key)]
        return True


class Book:
    """One user's home, and transactions on it."""

    def __init__(self, limit=0):
        self.rows = Rows()
        self.now = 1_600_000_000.0
        self._made = 0
        self.home = self.found(1, limit)

    def found(self, actor, limit=0):
        root, bin_ = self.ids().make(), self.ids().make()
        self.do(
            lambda w: namespaces.found(w, Act(actor, self.now), root=root, trash=bin_, limit=limit)
        )
        return root

    def ids(self):
        self._made += 1
        return FreshIds(self.now, self._made.to_bytes(8, "big"))

    def act(self, actor=1):
        self.now += 1
        return Act(actor, self.now)

    def do(self, operation):
        """Run ``operation``; what raises changes nothing."""
        values, keys = dict(self.rows.values), list(self.rows.keys)
        try:
            return operation(self.rows)
        except BaseException:
            self.rows.values, self.rows.keys = values, keys
            raise

    def in_ledger(self, operation, home=None):
        """``operation`` on the open row of a home, with fresh ids."""

        def opened(writer):
            ledger = Ledger(writer, self.act(), home or self.home)
            answer = operation(ledger, self.ids())
            ledger.close()
            return answer

        return self.do(opened)

    def commit(
        self,
        names,
        *contents,
        nodes=("n1", "n2", "n3"),
        home=None,
        folder=0,
        file=0,
        upload=0,
        ends_lease=True,
        **conditions,
    ):
        home = home or self.home
        destination = Destination(folder or home, tuple(names), file)
        staged = self.staged(*contents, nodes=nodes)
        act, ids = self.act(), self.ids()
        return self.do(
            lambda writer: commit(
                writer,
                act,
                ids,
                home,
                destination,
                Conditions(**conditions),
                staged,
                Safety(ACK, COPIES, DISKS),
                upload,
                ends_lease=ends_lease,
            )
        )

    def staged(self, *contents, nodes=("n1", "n2", "n3")):
        chunks = tuple(chunk(each) for each in contents)
        size = sum(each.length for each in chunks)
        sha256 = chunks[0].id if len(chunks) == 1 else hashlib.sha256(b"".join(contents)).digest()
        if not chunks:
            sha256 = EMPTY_SHA256
        held = {each.id: tuple(Holder(n, n.encode()) for n in nodes) for each in chunks if nodes}
        return Staged(chunks, held, Content(size, sha256, True, "text/plain", self.now))

    def at(self, *names, home=None):
        return tree.find(self.rows, home or self.home, names)

    def row(self, home=None):
        return namespaces.get(self.rows, home or self.home)


def chunk(content):
    return ChunkRef(ChunkId(hashlib.sha256(content).digest()), len(content))


def everything(rows, home):
    """All entries of a home and of its trash, by id, without the two roots."""
    row = namespaces.get(rows, home)
    found = {}
    for root in (row.id, row.trash):
        for entry in tree.below(rows, tree.by_id(rows, root)):
            assert entry.id not in found
            found[entry.id] = entry
    return found


def check(rows, homes, leases):
    """All that must hold of the records, recomputed from nothing."""
    known = set()
    wanted = set()
    for home in homes:
        row = namespaces.get(rows, home)
        entries = everything(rows, home)
        known |= set(entries) | {row.id, row.trash}
        replayed = {}
        sequences = []
        for change in journal.changes(rows, home):
            journal.replay(replayed, change)
            sequences.append(change.sequence)
        assert sequences == list(range(1, row.sequence + 1))
        assert replayed == entries
        used = old = 0
        for entry in entries.values():
            if entry.is_folder:
                continue
            numbers = []
            for version in versions.every(rows, entry.id):
                numbers.append(version.number)
                chunks = list(versions.chunks_of(rows, entry.id, version))
                assert len(chunks) == version.chunks
                assert sum(each.length for each in chunks) == version.content.size
                wanted |= {(each.id, entry.id, version.number) for each in chunks}
                used += version.content.size
                old += version.content.size if version.number != entry.head else 0
            assert numbers == sorted(numbers, reverse=True)
            assert numbers[0] == entry.head
            head = versions.get(rows, entry.id, entry.head)
            assert (entry.size, entry.sha256) == (head.content.size, head.content.sha256)
            assert entry.chunks == head.chunks
        assert (row.used, row.old_bytes) == (used, old)
        mine = [each for each in leases if each.namespace == home]
        assert row.reserved == sum(each.reserved for each in mine)
        if row.limit:
            assert row.used + row.reserved <= row.limit
        waiting = 0
        for discarded, entry in trash.listed(rows, home):
            inside = [entry, *tree.below(rows, entry)] if entry.is_folder else [entry]
            size = sum(
                version.content.size for each in inside for version in versions.every(rows, each.id)
            )
            assert discarded.size == size
            waiting += size
        assert trash.total_bytes(rows, home) == waiting
    places = [key for key, _ in rows.scan(b"p", b"q")]
    assert {int.from_bytes(key[1:], "big") for key in places} == known
    assert len([key for key, _ in rows.scan(b"e", b"f")]) == len(known)
    assert set(references.every(rows)) == wanted
    referenced = {each for each, _, _ in wanted}
    assert not referenced & {each for each, _ in references.condemned(rows)}
    owed = {each: debt.have for each, debt in holders.debts(rows)}
    copies = {each: len(row.holders) for each, row in holders.every(rows)}
    assert referenced <= set(copies)
    assert owed == {each: have for each, have in copies.items() if have < COPIES}
