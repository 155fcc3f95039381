"""What a call wants changed, as the records take it: who, when, under which idempotency key."""

import hashlib
from typing import Any

import msgspec

from minibox.coordinator.authentication import Caller
from minibox.coordinator.changes import Deed
from minibox.coordinator.http.call import Call, Reply
from minibox.coordinator.idempotency import key_of
from minibox.coordinator.journal import Act
from minibox.http_api.files import CopiesFacts
from minibox.http_api.headers import DURABILITY, JSON
from minibox.world import Clock


def deed_of(call: Call[Caller, Any, Any], clock: Clock) -> Deed:
    """The deed of a call in its caller's home. Only a POST honours an idempotency key."""
    user = call.caller.user
    device = call.device_id or call.caller.session.device
    act = Act(actor=user.id, now=clock.wall(), device=device)
    name = call.idempotency_key if call.route.method == "POST" else None
    if name is None:
        return Deed(act, user.home, user.username)
    asked = msgspec.json.encode((sorted(call.params.items()), call.query, call.body))
    return Deed(
        act,
        user.home,
        user.username,
        key_of(user.id, call.route.name, name),
        hashlib.sha256(asked).digest(),
    )


class _Tagged(msgspec.Struct):
    """What the headers of an answer are made from."""

    etag: str | None = None
    copies: CopiesFacts | None = None


def answered(
    answer: Any,  # noqa: ANN401  any route's answer
    *,
    status: int | None = None,
    shows_copies: bool = False,
) -> Reply[Any]:
    """The reply for what a change answered: a value, or the JSON that was answered before.

    The ETag of a file goes into the headers, and with ``shows_copies`` how many are durable.
    """
    is_kept = isinstance(answer, bytes)
    facts = msgspec.json.decode(answer, type=_Tagged) if is_kept else answer
    named = {}
    if etag := getattr(facts, "etag", None):
        named["ETag"] = f'"{etag}"'
    if shows_copies and facts.copies is not None:
        named[DURABILITY] = f"{facts.copies.have}/{facts.copies.want}"
    return Reply(answer, status, named, JSON if is_kept else None)
