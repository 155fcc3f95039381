"""Listing remote folders of any size, one page after the other."""

from collections.abc import AsyncIterator

from minibox.client.http import Http
from minibox.http_api.files import LIST, MAX_PER_PAGE, EntryFacts, ListQuery


async def pages(http: Http, path: str) -> AsyncIterator[list[EntryFacts]]:
    """The entries of one folder. NotFound."""
    cursor: str | None = None
    while True:
        query = ListQuery(path=path, limit=MAX_PER_PAGE, cursor=cursor)
        page = await http.call(LIST, query=query)
        yield page.items
        cursor = page.next_cursor
        if cursor is None:
            return


async def pages_below(http: Http, path: str) -> AsyncIterator[list[EntryFacts]]:
    """All below a folder, each folder before what is in it.

    Folder by folder: a server lists only so much at once, and memory here is bounded by the names
    of folders.
    """
    waiting = [path]
    while waiting:
        inside: list[str] = []
        async for page in pages(http, waiting.pop()):
            yield page
            inside += [entry.path for entry in page if entry.type == "folder"]
        waiting += reversed(inside)
