"""Closing an account: its sessions end at once, then all it has goes, in bounded steps."""

from itertools import islice

from minibox.coordinator import accounts, namespaces, sessions, trash, tree, uploads
from minibox.coordinator.accounts import User
from minibox.coordinator.journal import Act
from minibox.coordinator.namespaces import Ledger
from minibox.store import Reader, Store, Writer

ENTRIES_A_STEP = 200


async def close_account(store: Store, user: User, now: float) -> None:
    """Nobody can log in from the first step on; the files' chunks are condemned as they go.

    What was under way may still add files meanwhile: the last step is taken only when nothing is
    left, in its own transaction.
    """

    def begin(writer: Writer) -> None:
        accounts.rewrite(writer, user.id, disabled=True)
        sessions.end_all(writer, user.id)

    def end(writer: Writer) -> bool:
        uploads.end_all(writer, now, user.id)
        if _has_files(writer, user):
            return False
        accounts.remove(writer, user.id)
        return True

    await store.write(begin, frees=True)
    act = Act(actor=user.id, now=now)
    while not await store.write(end, frees=True):
        await store.write(lambda writer: _remove_some(writer, act, user), frees=True)


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
