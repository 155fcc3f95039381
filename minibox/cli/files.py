"""Commands about names: what is where, moved, copied, removed."""

from typing import TYPE_CHECKING

import click

from minibox.cli.connecting import connected
from minibox.cli.output import as_json, print_json, print_lines, print_table, size_text, time_text
from minibox.cli.remote import remote_path

if TYPE_CHECKING:
    from minibox.http_api.files import EntryFacts, Metadata


@click.command()
@click.argument("path", default="/")
@click.option("-l", "long", is_flag=True, help="Sizes, times and versions too.")
@click.option("-R", "recursive", is_flag=True, help="All below it.")
@as_json
def ls(path: str, *, long: bool, recursive: bool, as_json: bool) -> None:
    """List a folder, or one file."""
    with connected() as box:
        entry = box.stat(remote_path(path))
        is_folder = entry.type == "folder"
        entries: list[EntryFacts] = [entry]
        if is_folder:
            entries = box.ls(entry.path, recursive=recursive)
    if as_json:
        print_json(entries)
        return
    names = [_name(each, whole=recursive or not is_folder) for each in entries]
    if long:
        rows = [
            [size_text(each.size), time_text(each.modified), _version(each), name]
            for each, name in zip(entries, names, strict=True)
        ]
        print_table(["size", "modified", "version", "name"], rows)
    else:
        print_lines(names)


@click.command()
@click.argument("path")
@as_json
def stat(path: str, *, as_json: bool) -> None:
    """All that is known of a file or folder."""
    with connected() as box:
        entry = box.stat(remote_path(path))
    if as_json:
        print_json(entry)
    else:
        print_lines(_facts(entry))


@click.command()
@click.argument("path")
@as_json
def mkdir(path: str, *, as_json: bool) -> None:
    """Make a folder, and those above it that are missing."""
    with connected() as box:
        made = box.mkdir(remote_path(path))
    if as_json:
        print_json(made)


@click.command()
@click.argument("source")
@click.argument("target")
@as_json
def mv(source: str, target: str, *, as_json: bool) -> None:
    """Move or rename; into TARGET where that is a folder."""
    with connected() as box:
        moved = box.mv(remote_path(source), remote_path(target))
    if as_json:
        print_json(moved)


@click.command()
@click.argument("source")
@click.argument("target")
@as_json
def cp(source: str, target: str, *, as_json: bool) -> None:
    """Copy on the server, without moving bytes; into TARGET where that is a folder."""
    with connected() as box:
        copied = box.cp(remote_path(source), remote_path(target))
    if as_json:
        print_json(copied)


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("-r", "recursive", is_flag=True, help="Folders too, with all in them.")
@click.option("--permanent", is_flag=True, help="Not to the trash: for ever.")
@as_json
def rm(paths: tuple[str, ...], *, recursive: bool, permanent: bool, as_json: bool) -> None:
    """Delete files: to the trash."""
    from minibox.errors import ValidationFailed  # noqa: PLC0415

    deleted = []
    with connected() as box:
        for path in map(remote_path, paths):
            if not recursive and box.stat(path).type == "folder":
                raise ValidationFailed(path, "is a folder; delete it with -r")
            deleted.append(box.rm(path, permanent=permanent))
    if as_json:
        print_json(deleted)


def _name(entry: "EntryFacts", *, whole: bool) -> str:
    name = entry.path if whole else entry.name
    return f"{name}/" if entry.type == "folder" else name


def _version(entry: "EntryFacts") -> str:
    return "-" if entry.version is None else str(entry.version)


def _facts(entry: "Metadata") -> list[str]:
    facts: list[tuple[str, object]] = [
        ("path", entry.path),
        ("id", entry.id),
        ("type", entry.type),
        ("owner", entry.owner),
        ("created", time_text(entry.created)),
        ("modified", time_text(entry.modified)),
    ]
    if entry.type == "file":
        facts += [
            ("size", f"{entry.size} bytes ({size_text(entry.size)})"),
            ("content", entry.content_type),
            ("version", entry.version),
            ("etag", entry.etag),
            ("sha256", entry.sha256),
        ]
    if entry.copies is not None:
        facts.append(("copies", f"{entry.copies.have} of {entry.copies.want}"))
    return [f"{name:9} {value}" for name, value in facts]
