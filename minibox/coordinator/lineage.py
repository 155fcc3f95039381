"""Who this coordinator is, in what order it decided things, and its own unforgeable time.

Each start makes the next term durable under a random id; each deciding transaction takes the next
sequence. Nodes obey no lower (term, sequence). Coordinator seconds are monotonic over restarts: a
start resumes above everything that an earlier start may have handed out, so that no capability
outlives its time because a wall clock was set back.
"""

from minibox.codec import Record
from minibox.node_api import Order
from minibox.store import Reader, Table, Writer

SECONDS_AHEAD = 1200
"""So far ahead coordinator seconds are reserved in the store; renewed at half of it."""


class Lineage(Record, frozen=True):
    """The one row: ``id`` names this history of the metadata, ``term`` counts the starts."""

    kind = "lineage"
    id: bytes
    term: int
    coordinator: bytes
    seconds_limit: int


class Sequence(Record, frozen=True):
    """The number of the latest deciding transaction."""

    kind = "sequence"
    number: int


class Cluster(Record, frozen=True):
    """Which cluster all these rows are of."""

    kind = "cluster"
    id: bytes


_CLUSTER = Table(b"mc", Cluster)
_LINEAGE = Table(b"ml", Lineage)
_SEQUENCE = Table(b"ms", Sequence)


def is_of(writer: Writer, cluster: bytes) -> bool:
    """Whether the store is of the cluster with this id; a new one is from now on."""
    known = _CLUSTER.get(writer)
    if known is None:
        _CLUSTER.put(writer, Cluster(cluster))
    return known is None or known.id == cluster


def begin_term(writer: Writer, random: bytes) -> Lineage:
    """The next term, durable when the transaction is; ``random`` has 32 bytes."""
    former = _LINEAGE.get(writer)
    made = Lineage(
        id=former.id if former else random[:16],
        term=former.term + 1 if former else 1,
        coordinator=random[16:],
        seconds_limit=former.seconds_limit if former else 0,
    )
    _LINEAGE.put(writer, made)
    return made


def reserve_seconds(writer: Writer, seconds: int) -> None:
    """No later start may begin its seconds below ``seconds + SECONDS_AHEAD``."""
    now = _LINEAGE.get(writer)
    if now is not None:
        _LINEAGE.put(writer, Lineage(now.id, now.term, now.coordinator, seconds + SECONDS_AHEAD))


def sequence(reader: Reader) -> int:
    """The number of the latest deciding transaction; 0 before the first."""
    row = _SEQUENCE.get(reader)
    return row.number if row else 0


def next_sequence(writer: Writer) -> int:
    """Take the next number for the transaction that calls."""
    number = sequence(writer) + 1
    _SEQUENCE.put(writer, Sequence(number))
    return number


def order(lineage: Lineage, number: int) -> Order:
    """What nodes are shown with every answer and order."""
    return Order(lineage.term, lineage.coordinator, number)
