"""Random operations on two homes: after each, all records equal what is recomputed."""

import contextlib
import unicodedata

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from records import Book, check, chunk, everything

from minibox.coordinator import folders, holders, journal, namespaces, trash, tree, uploads
from minibox.coordinator.uploads import Lease
from minibox.errors import (
    ChunkMissing,
    Failure,
    NameConflict,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    UploadExpired,
    ValidationFailed,
    VersionConflict,
)
from minibox.names import valid_name

NAMES = st.sampled_from(["a", "A", "b.txt", "é", unicodedata.normalize("NFD", "É"), "x" * 255])
PATHS = st.lists(NAMES.map(valid_name), min_size=1, max_size=3)
CONTENTS = st.lists(st.sampled_from([b"one", b"two!", b"three", b"fourteen bytes"]), max_size=3)
PICK = st.integers(0, 1000)
EXPECTED = (
    ChunkMissing, NameConflict, NotFound, PreconditionFailed, QuotaExceeded, UploadExpired,
    ValidationFailed, VersionConflict,
)  # fmt: skip


class Records(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.book = Book(limit=400)
        self.homes = [self.book.home, self.book.found(1)]
        self.heads = {}
        self.trees = {home: {0: {}} for home in self.homes}

    # What there is

    def home(self, pick):
        return self.homes[pick % 2]

    def any_entry(self, pick, home=None):
        entries = [
            each for place in ([home] if home else self.homes)
            for each in everything(self.book.rows, place).values()
        ]  # fmt: skip
        return sorted(entries, key=lambda each: each.id)[pick % len(entries)] if entries else None

    def home_and_entry(self, pick, at):
        """Mostly the home that the entry is in."""
        home = self.home(pick)
        return home, self.any_entry(at, home if pick % 5 else None)

    def folder(self, ledger, pick):
        found = [
            each for each in everything(self.book.rows, ledger.namespace.id).values()
            if each.is_folder
        ]  # fmt: skip
        found.append(tree.by_id(self.book.rows, ledger.namespace.id))
        return folders.live_folder(ledger, found[pick % len(found)].id)

    def leases(self):
        return list(uploads.every(self.book.rows))

    def attempt(self, home, operation):
        with contextlib.suppress(*EXPECTED):
            return self.book.in_ledger(operation, home)

    # Names

    @rule(pick=PICK, path=PATHS)
    def make(self, pick, path):
        home = self.home(pick)

        def operation(ledger, ids):
            parent = folders.make_path(ledger, ids, home, path[:-1])
            return folders.make(ledger, ids, parent, path[-1])

        self.attempt(home, operation)

    @rule(pick=PICK, at=PICK, to=PICK, name=NAMES, or_rename=st.booleans())
    def move(self, pick, at, to, name, or_rename):
        home, entry = self.home_and_entry(pick, at)
        if entry is None:
            return

        def operation(ledger, _ids):
            live = folders.live(ledger.writer, ledger, entry.id)
            parent = self.folder(ledger, to)
            if to % 4 == 0 and live.is_folder:
                inside = [each for each in tree.below(ledger.writer, live) if each.is_folder]
                parent = inside[0] if inside else live
            return folders.move(ledger, live, parent, valid_name(name), or_rename=or_rename)

        self.attempt(home, operation)

    @rule(pick=PICK, at=PICK, to=PICK, name=NAMES)
    def copy(self, pick, at, to, name):
        home, entry = self.home_and_entry(pick, at)
        if entry is None or len(everything(self.book.rows, home)) > 30:
            return

        def operation(ledger, ids):
            live = folders.live(ledger.writer, ledger, entry.id)
            return folders.copy(ledger, ids, live, self.folder(ledger, to), valid_name(name))

        self.attempt(home, operation)

    @rule(pick=PICK, at=PICK, tag=st.sampled_from(["x", "y"]))
    def retag(self, pick, at, tag):
        home, entry = self.home_and_entry(pick, at)
        if entry is not None:
            self.attempt(
                home,
                lambda ledger, _: folders.retag(
                    ledger, folders.live(ledger.writer, ledger, entry.id), (tag,)
                ),
            )

    # Trash and versions

    @rule(pick=PICK, at=PICK)
    def discard(self, pick, at):
        home, entry = self.home_and_entry(pick, at)
        if entry is not None:
            self.attempt(
                home,
                lambda ledger, _: trash.discard(
                    ledger, folders.live(ledger.writer, ledger, entry.id)
                ),
            )

    @rule(pick=PICK, at=PICK, back=st.booleans())
    def restore_or_purge(self, pick, at, back):
        home = self.home(pick)
        gone = [row.entry for row, _ in trash.listed(self.book.rows, home)]
        if not gone:
            return
        number = gone[at % len(gone)]
        if back:
            self.attempt(home, lambda ledger, ids: trash.restore(ledger, ids, number))
        else:
            self.attempt(home, lambda ledger, _: trash.purge(ledger, number))
            assert tree.by_id(self.book.rows, number) is None

    @rule(pick=PICK, at=PICK, number=st.integers(0, 2))
    def restore_version(self, pick, at, number):
        home, entry = self.home_and_entry(pick, at)
        if entry is not None and not entry.is_folder:
            self.attempt(
                home,
                lambda ledger, _: folders.restore_version(
                    ledger, folders.live(ledger.writer, ledger, entry.id), number
                ),
            )

    # Contents

    @rule(
        pick=PICK,
        path=PATHS,
        contents=CONTENTS,
        nodes=st.lists(st.sampled_from(["n1", "n2", "n3", "stranger"]), max_size=3, unique=True),
        on_conflict=st.sampled_from(["rename", "replace", "fail"]),
        absent=st.booleans(),
        present=st.booleans(),
        base=st.sampled_from(["", "head", "stale", None, None]),
        by_id=st.booleans(),
        at=PICK,
    )
    def commit(self, pick, path, contents, nodes, on_conflict, absent, present, base, by_id, at):
        home = self.home(pick)
        target = self.any_entry(at) if by_id else None
        head = target
        if target is None:
            with contextlib.suppress(NotFound):
                head = tree.find(self.book.rows, home, path)
        if base == "head":
            base = head.etag if head else None
        elif base == "stale":
            base = "f_0000000000000.1"
        former = dict(self.book.rows.values)
        try:
            done = self.book.commit(
                path,
                *contents,
                nodes=nodes,
                home=home,
                file=target.id if target else 0,
                on_conflict=on_conflict,
                absent=absent,
                present=present,
                base=base,
            )
        except EXPECTED:
            assert self.book.rows.values == former
            return
        assert done.entry == tree.by_id(self.book.rows, done.entry.id)
        assert done.is_new == (done.entry.head == 1)
        assert done.copies >= 2 or not contents
        if not done.is_new:
            assert not absent
            assert base in (None, head.etag)
        if done.is_new:
            assert not present or head is not None
        if on_conflict == "fail" and not by_id and base is None:
            assert done.is_new

    # Leases

    @rule(pick=PICK, promised=st.integers(0, 200), contents=CONTENTS)
    def begin(self, pick, promised, contents):
        home, act = self.home(pick), self.book.act()
        lease = Lease(self.book.ids().make(), 1, home, promised)
        chunks = [chunk(each) for each in contents]

        def operation(writer):
            uploads.begin(writer, act, lease)
            return uploads.pin(writer, act, lease, chunks)

        with contextlib.suppress(QuotaExceeded):
            pinned = self.book.do(operation)
            assert list(uploads.listed(self.book.rows, lease.upload)) == chunks
            assert pinned.size == sum(each.length for each in chunks)

    @precondition(lambda self: self.leases())
    @rule(at=PICK, contents=CONTENTS)
    def extend(self, at, contents):
        lease = self.leases()[at % len(self.leases())]
        act, chunks = self.book.act(), [chunk(each) for each in contents]
        with contextlib.suppress(QuotaExceeded):
            self.book.do(lambda writer: uploads.pin(writer, act, lease, chunks))

    @precondition(lambda self: self.leases())
    @rule(at=PICK, path=PATHS, contents=CONTENTS, ends=st.booleans())
    def commit_leased(self, at, path, contents, ends):
        lease = self.leases()[at % len(self.leases())]
        try:
            self.book.commit(
                path,
                *contents,
                home=lease.namespace,
                upload=lease.upload,
                ends_lease=ends,
            )
        except EXPECTED:
            return
        assert (lease.upload in {each.upload for each in self.leases()}) != ends

    @precondition(lambda self: self.leases())
    @rule(at=PICK, how=st.sampled_from(["give up", "twice", "expire"]))
    def end_lease(self, at, how):
        lease, act = self.leases()[at % len(self.leases())], self.book.act()
        if how == "expire":
            self.book.do(lambda writer: uploads.expire(writer, act.now, lease.upload))
            self.book.do(lambda writer: uploads.expire(writer, act.now, lease.upload))
            return
        self.book.do(lambda writer: uploads.give_up(writer, act, lease.upload))
        if how == "twice":
            with contextlib.suppress(UploadExpired):
                self.book.do(lambda writer: uploads.give_up(writer, act, lease.upload))
                raise AssertionError("it ended twice")

    # Copies

    @rule(at=PICK, node=st.sampled_from(["n1", "n2", "n3"]))
    def lose_a_copy(self, at, node):
        known = [each for each, _ in holders.every(self.book.rows)]
        if known:
            chosen = known[at % len(known)]
            self.book.do(lambda w: holders.withdraw(w, chosen, node, 3, self.book.now))

    @invariant()
    def holds(self):
        rows = self.book.rows
        check(rows, self.homes, self.leases())
        pinned = {key for key, _ in rows.scan(b"ip", b"iq")}
        listed = {
            b"ip" + each.id + lease.upload.to_bytes(8, "big")
            for lease in self.leases()
            for each in uploads.listed(rows, lease.upload)
        }
        assert pinned == listed
        for home in self.homes:
            entries = everything(rows, home)
            self.trees[home][namespaces.get(rows, home).sequence] = entries
            for entry in entries.values():
                assert entry.head >= self.heads.get(entry.id, 0), "a version was used again"
                self.heads[entry.id] = entry.head

    def teardown(self):
        for home, trees in self.trees.items():
            for sequence, known in sorted(trees.items())[-5:]:
                replayed = dict(known)
                for change in journal.changes(self.book.rows, home, after=sequence):
                    journal.replay(replayed, change)
                assert replayed == everything(self.book.rows, home)


Records.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestRecords = Records.TestCase
assert issubclass(ChunkMissing, Failure)
