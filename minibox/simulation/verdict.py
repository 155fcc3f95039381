"""What was promised to clients against what the cluster has: D5 and M1 to M4."""

from collections import Counter, defaultdict

from minibox.coordinator import accounts, journal
from minibox.coordinator.journal import Change
from minibox.coordinator.tree import Entry
from minibox.identity import from_text
from minibox.manifest import EMPTY_SHA256
from minibox.simulation.invariants import Records
from minibox.simulation.promises import Broken, Fact, Promises
from minibox.store import Reader


def check_promises(records: Records, promises: Promises, homes: dict[str, int]) -> None:
    """Every acknowledged version and change is there, once, in the order of the answers.

    ``homes`` has each user's namespace. Broken: D5, M1, M2, M3, M4.
    """
    gone: dict[int, int] = {}
    for row in records.namespaces:
        gone.update(_purged(records.changes[row.id]))
    asked = {_number(entry) for entry in promises.purge_asked}
    for entry, by in gone.items():
        if by not in asked:
            raise Broken("M2", f"entry {entry} was purged with {by}, which nobody has asked")
    _check_contents(records, promises, gone)
    _check_single(records, promises)
    by_user: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in promises.facts:
        by_user[fact.user].append(fact)
    for user, facts in by_user.items():
        _check_facts(facts, records.changes[homes[user]])


def _check_contents(records: Records, promises: Promises, gone: dict[int, int]) -> None:
    for (file, number), sha256 in promises.contents.items():
        filed = records.files.get(_number(file))
        if filed is None:
            if (file, number) in promises.acknowledged and _number(file) not in gone:
                raise Broken("M2", f"{file}.{number} was acknowledged and is not there")
        elif len(filed.versions) < number:
            raise Broken("M2", f"{file}.{number} was seen, and the head is {filed.entry.head}")
        elif filed.versions[number - 1].content.sha256 != sha256:
            raise Broken("D5", f"{file}.{number} has another content than was seen of it")


def homes_of(reader: Reader) -> dict[str, int]:
    """The namespace of each user, by username."""
    return {user.username: user.home for user in accounts.every(reader)}


def _check_single(records: Records, promises: Promises) -> None:
    """A content that was sent under one deed became one version, or none where it was refused."""
    made = Counter(
        change.after.sha256
        for changes in records.changes.values()
        for change in changes
        if change.after is not None and _is_commit(change)
    )
    made.pop(EMPTY_SHA256, None)
    for sha256 in promises.sent_once:
        if made[sha256] > 1 and sha256 not in promises.spread and sha256 not in promises.in_doubt:
            raise Broken(
                "M3", f"{sha256.hex()[:12]} was sent once and made {made[sha256]} versions"
            )
    for sha256, code in promises.refused.items():
        if made[sha256] and sha256 not in promises.in_doubt and sha256 not in promises.sent_once:
            raise Broken("M1", f"{sha256.hex()[:12]} was refused ({code}) and is committed")


def _check_facts(facts: list[Fact], changes: tuple[Change, ...]) -> None:
    """Each acknowledged change is in the journal, as often as it was acknowledged, and in order."""
    left: defaultdict[tuple[str, int], list[Change]] = defaultdict(list)
    for change in changes:
        entry = change.after or change.before
        if entry is not None:
            left[change.verb, entry.id].append(change)
    single: list[tuple[Fact, int]] = []
    for fact in facts:
        found = left[fact.verb, _number(fact.entry)]
        matching = [change for change in found if _matches(fact, change)]
        if fact.verb == "moved":
            continue  # moving to where it is already changes nothing: none of them stands for one
        if not matching:
            raise Broken("M2", f"{fact} was acknowledged and is not in the journal")
        if len(matching) == 1:
            single.append((fact, matching[0].sequence))
    single.sort(key=lambda each: each[1])
    latest_began = 0.0
    for fact, sequence in single:
        if fact.answered < latest_began:
            raise Broken("M4", f"{fact} has sequence {sequence}, after one that began later")
        latest_began = max(latest_began, fact.began)


def _matches(fact: Fact, change: Change) -> bool:
    after = change.after
    if after is None:
        return fact.verb == "purged"
    if fact.head and after.head != fact.head:
        return False
    return not fact.name or after.name == fact.name


def _is_commit(change: Change) -> bool:
    if change.verb == "created":
        return change.after is not None and not change.after.is_folder
    if change.verb != "updated" or change.before is None or change.after is None:
        return False
    return change.before.head != change.after.head


def _purged(changes: tuple[Change, ...]) -> dict[int, int]:
    """Entries that are gone for ever, and the entry with which they went."""
    entries: dict[int, Entry] = {}
    gone: dict[int, int] = {}
    for change in changes:
        before = set(entries)
        journal.replay(entries, change)
        if change.verb == "purged" and change.before is not None:
            gone.update(dict.fromkeys(sorted(before - set(entries)), change.before.id))
    return gone


def _number(public_id: str) -> int:
    for prefix in ("f", "d"):
        number = from_text(prefix, public_id)
        if number is not None:
            return number
    raise ValueError(public_id)
