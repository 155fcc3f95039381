"""One simulated person: what is believed to exist, and what is made of the answers."""

from hashlib import sha256
from random import Random

from minibox.errors import VersionConflict
from minibox.http_api import files as api
from minibox.identity import from_text
from minibox.simulation.asking import Asking, Doubt, Refused
from minibox.simulation.cluster import SimulatedCluster
from minibox.simulation.contents import Contents
from minibox.simulation.platters import check_acknowledged
from minibox.simulation.promises import Broken, Fact, Promises

NAMES = ("a.txt", "A.TXT", "b.bin", "Übung.md", "übung.md", "c", "report 1.pdf", "x.tar.gz")
FOLDERS = ("", "/docs", "/docs/old", "/Pics")
SHORTEST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.6
_BOUNDARY = "simulated-boundary"


class Home:
    """What the clients of one user believe to exist. It may be out of date."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.files: dict[str, str] = {}
        self.heads: dict[str, str] = {}
        self.folders: dict[str, str] = {}
        self.trash: dict[str, str] = {}

    def note(self, entry: api.Metadata) -> None:
        """An answer told of this entry."""
        if entry.type == "folder":
            self.folders[entry.id] = entry.path
        else:
            self.files[entry.id] = entry.path
            self.heads[entry.id] = entry.etag or ""


class Person:
    """One client of one user."""

    def __init__(
        self,
        cluster: SimulatedCluster,
        asking: Asking,
        home: Home,
        contents: Contents,
        promises: Promises,
        generator: Random,
    ) -> None:
        self._cluster = cluster
        self._asking = asking
        self._http = asking.http
        self._home = home
        self._contents = contents
        self._promises = promises
        self._generator = generator

    def _stored(
        self,
        outcome: "api.Uploaded | Refused | Doubt",
        sha256: bytes,
        began: float,
        *,
        key: str,
        base: str | None = None,
    ) -> None:
        if isinstance(outcome, Doubt):
            self._promises.doubt([sha256])
            return
        if isinstance(outcome, Refused):
            self._promises.refused.setdefault(sha256, outcome.failure.code)
            failure = outcome.failure
            if isinstance(failure, VersionConflict) and base is not None:
                if failure.head == base:
                    raise Broken("M1", f"{base} is the head and was refused as a base")
                entry = base.rpartition(".")[0]
                if failure.head.startswith(f"{entry}."):
                    self._home.heads[entry] = failure.head
            return
        if outcome.sha256 != sha256.hex():
            raise Broken("D5", f"{outcome.etag} is said to have another content than was sent")
        self._home.note(outcome)
        version = outcome.version or 0
        self._promises.sent_once[sha256] = None
        fact = self._fact("created" if version == 1 else "updated", outcome.id, began, head=version)
        self._promises.acknowledge(fact, sha256, key=key, base=base)
        check_acknowledged(self._cluster, from_text("f", outcome.id) or 0, version)

    def _acknowledge(
        self, verb: str, entry: str, began: float, *, head: int = 0, name: str = ""
    ) -> None:
        self._promises.acknowledge(self._fact(verb, entry, began, head=head, name=name), key="")

    def _fact(self, verb: str, entry: str, began: float, *, head: int = 0, name: str = "") -> Fact:
        now = self._cluster.now
        return Fact(self._home.user, verb, entry, began, now, head, name)  # type: ignore[arg-type]

    def _forget(self, entry: str) -> None:
        for known in (self._home.files, self._home.heads, self._home.folders):
            known.pop(entry, None)

    def _spread(self, entry: str) -> None:
        """Contents of the entry, or of all if it is a folder, may be in other files from now on."""
        for (file, _), digest in list(self._promises.contents.items()):
            if file == entry or not entry.startswith("f"):
                self._promises.spread[digest] = None
        if not entry.startswith("f"):
            self._promises.spread.update(dict.fromkeys(self._promises.in_doubt))

    def _some(self, known: dict[str, str]) -> str | None:
        return self._generator.choice(list(known)) if known else None

    def _path(self) -> str:
        if self._home.files and self._likely(0.3):
            return self._generator.choice(list(self._home.files.values()))
        return f"{self._generator.choice(FOLDERS)}/{self._generator.choice(NAMES)}"

    def _likely(self, share: float) -> bool:
        return self._generator.random() < share


def sha_of(content: bytes) -> bytes:
    """The SHA-256 that stands for a content."""
    return sha256(content).digest()
