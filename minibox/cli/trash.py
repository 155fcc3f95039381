"""Commands about what was deleted."""

import click

from minibox.cli.connecting import connected
from minibox.cli.output import as_json, print_json, print_lines, print_table, size_text, time_text


@click.group(invoke_without_command=True)
@click.pass_context
def trash(context: click.Context) -> None:
    """What was deleted: list it, bring it back, remove it for ever."""
    if context.invoked_subcommand is None:
        context.invoke(list_trash, as_json=False)


@trash.command("list")
@as_json
def list_trash(*, as_json: bool) -> None:
    """What can be brought back."""
    with connected() as box:
        found = box.trash()
    if as_json:
        print_json(found)
        return
    rows = [
        [each.trash_id, size_text(each.size), time_text(each.deleted), each.path] for each in found
    ]
    print_table(["id", "size", "deleted", "path"], rows)


@trash.command()
@click.argument("trash_id")
@as_json
def restore(trash_id: str, *, as_json: bool) -> None:
    """Bring something back to where it was."""
    with connected() as box:
        entry = box.restore_trash(trash_id)
    if as_json:
        print_json(entry)
    else:
        print_lines([f"{entry.path} is back"])


@trash.command()
@click.argument("trash_id")
def purge(trash_id: str) -> None:
    """Remove something for ever."""
    with connected() as box:
        box.purge(trash_id)


@trash.command()
@click.option("--yes", is_flag=True, help="Don't ask.")
def empty(*, yes: bool) -> None:
    """Remove all that is in the trash for ever."""
    if not yes:
        click.confirm("Remove all that is in the trash for ever?", abort=True, err=True)
    with connected() as box:
        box.empty_trash()
