"""The ordered store: byte keys in order, atomic durable writes, typed tables over them.

Keys are at most 511 bytes and begin with a table's tag, never with a zero byte: those are the
store's own. ``open_lmdb`` is the store of production; :class:`MemoryStore` keeps the same promises
over a :class:`MemoryDisk`, which crashes when told to.
"""

from minibox.store.groups import MAX_GROUP_OPERATIONS, MAX_WAITING_OPERATIONS
from minibox.store.interface import MAX_KEY_BYTES, Reader, Store, Writer
from minibox.store.lmdb import open_lmdb
from minibox.store.memory import MemoryDisk, MemoryStore
from minibox.store.tables import Rows, Table

__all__ = [
    "MAX_GROUP_OPERATIONS",
    "MAX_KEY_BYTES",
    "MAX_WAITING_OPERATIONS",
    "MemoryDisk",
    "MemoryStore",
    "Reader",
    "Rows",
    "Store",
    "Table",
    "Writer",
    "open_lmdb",
]
