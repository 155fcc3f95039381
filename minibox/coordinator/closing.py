"""Closing an account: its sessions end at once, then all it has goes, in bounded steps."""

from itertools import islice

from minibox.coordinator import accounts, namespaces, sessions, trash, tree
from minibox.coordinator.accounts import User
from minibox.coordinator.journal import Act
from minibox.coordinator.namespaces import Ledger
from minibox.store import Reader, Store, Writer

ENTRIES_A_STEP = 200


async def close_account(store: Store, user: User, now: float) -> None:
    """Nobody can log in from the first step on; the files' chunks are condemned as they go."""

    def begin(writer: Writer) -> None:
        accounts.rewrite(writer, user.id, disabled=True)
        sessions.end_all(writer, user.id)

    await store.write(begin, frees=True)
    act = Act(actor=user.id, now=now)
    while store.read(lambda reader: _has_files(reader, user)):
        await store.write(lambda writer: _remove_some(writer, act, user), frees=True)
    await store.write(lambda writer: accounts.remove(writer, user), frees=True)


def _has_files(reader: Reader, user: User) -> bool:
    home = namespaces.get(reader, user.home)
    return tree.has_children(reader, home.id) or tree.has_children(reader, home.trash)


def _remove_some(writer: Writer, act: Act, user: User) -> None:
    ledger = Ledger(writer, act, user.home)
    for _, entry in list(islice(tree.children(writer, user.home), ENTRIES_A_STEP)):
        trash.discard(ledger, entry)
    gone = list(islice(tree.children(writer, ledger.namespace.trash), ENTRIES_A_STEP))
    for _, entry in gone:
        trash.purge(ledger, entry.id)
    ledger.close()
