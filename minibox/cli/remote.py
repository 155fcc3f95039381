"""How remote paths are written on the command line: ``mb:/docs/a.txt``."""

from pathlib import PurePath

import click

PREFIX = "mb:"


def is_remote(text: str) -> bool:
    """Whether this names something on the server."""
    return text.startswith(PREFIX)


def remote_path(text: str) -> str:
    """The path on the server, where it can't be anything else: ``mb:`` may be left out."""
    path = text.removeprefix(PREFIX)
    return path if path.startswith("/") else f"/{path}"


def must_be_remote(text: str) -> str:
    """The path on the server, where a local one could stand as well; UsageError without ``mb:``."""
    if not is_remote(text):
        raise click.UsageError(f"write the remote path with mb: in front, as in mb:/{text}")
    return remote_path(text)


def must_be_local(text: str) -> str:
    """A local path; UsageError for a remote one."""
    if is_remote(text):
        raise click.UsageError(f"{text} is remote; a local path is wanted here")
    return text


def name_of(local: str) -> str:
    """The last name of a local path: what a file is called when it is put into a folder."""
    return PurePath(local).name


def file_target(target: str, source: str, *, is_folder: bool) -> str:
    """Where ``put SOURCE mb:TARGET`` writes: into a folder, or exactly there."""
    if is_folder or target.endswith("/"):
        return f"{target.rstrip('/')}/{name_of(source)}"
    return target
