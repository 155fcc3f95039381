"""Lists of entries: what the query asks, as a page."""

from minibox.coordinator.homes import Homes, Seen, Wanted, cursor_place, cursor_text
from minibox.coordinator.http.entries import facts
from minibox.errors import NotFound, ValidationFailed
from minibox.http_api.files import MAX_PER_PAGE, EntryPage, ListQuery

DEFAULT_PER_PAGE = 100


def page_of(homes: Homes, folder: Seen, asked: ListQuery) -> EntryPage:
    """A page of a folder's entries; ValidationFailed, BadCursor, NotFound for a file."""
    if not folder.entry.is_folder:
        raise NotFound("folder")
    given = asked.limit if asked.per_page is None else asked.per_page
    per_page = DEFAULT_PER_PAGE if given is None else given
    if not 1 <= per_page <= MAX_PER_PAGE:
        raise ValidationFailed("per_page", f"give 1 to {MAX_PER_PAGE}")
    page = asked.page if asked.page is not None else 1
    if not 1 <= page <= 1_000_000:  # noqa: PLR2004  a bound for arithmetic's sake
        raise ValidationFailed("page", "pages count from 1")
    listing = homes.listing(
        folder,
        Wanted(
            per_page=per_page,
            page=page,
            after=None if asked.cursor is None else cursor_place(asked.cursor),
            search=asked.search or "",
            sort=asked.sort,
            shape=asked.type,
            recursive=asked.recursive,
        ),
    )
    following = None if listing.next_after is None else cursor_text(listing.next_after)
    return EntryPage(
        items=[facts(seen) for seen in listing.items],
        page=page,
        per_page=per_page,
        total=listing.total,
        next_cursor=following,
    )
