"""The client that commands use: to the server that is meant, as who logged in there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from minibox.client import Client


@contextmanager
def connected() -> Iterator["Client"]:
    """A client with the saved login. Renewed tokens are saved in turn."""
    from minibox.allocator import keep_freed_memory  # noqa: PLC0415 - help must be quick
    from minibox.client import Client  # noqa: PLC0415
    from minibox.client.settings import (  # noqa: PLC0415
        Settings,
        resume_folder,
        settings_folder,
    )

    keep_freed_memory()
    settings = Settings(settings_folder(), os.environ)
    url = settings.url(click.get_current_context().find_root().obj)
    with Client(
        url,
        credentials=settings.credentials(url),
        on_credentials=lambda credentials: settings.keep(url, credentials),
        resume_folder=resume_folder(),
    ) as client:
        yield client
