"""Commands about former versions of a file."""

import click

from minibox.cli.connecting import connected
from minibox.cli.output import as_json, print_json, print_lines, print_table, size_text, time_text
from minibox.cli.remote import remote_path


@click.command()
@click.argument("path")
@as_json
def versions(path: str, *, as_json: bool) -> None:
    """The versions of a file, newest first."""
    with connected() as box:
        found = box.versions(remote_path(path))
    if as_json:
        print_json(found)
        return
    rows = [
        [
            f"{each.version}{'*' if each.is_head else ''}",
            size_text(each.size),
            time_text(each.created),
            each.author,
        ]
        for each in found
    ]
    print_table(["version", "size", "committed", "by"], rows)


@click.command()
@click.argument("path")
@click.argument("version", type=click.IntRange(min=1))
@as_json
def restore(path: str, version: int, *, as_json: bool) -> None:
    """Make a former version's content the file's content again, as a new version."""
    with connected() as box:
        made = box.restore(remote_path(path), version)
    if as_json:
        print_json(made)
    else:
        print_lines([f"{made.path} has the content of version {version} as version {made.version}"])
