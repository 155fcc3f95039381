"""Commands for administrators."""

import click

from minibox.cli.connecting import connected
from minibox.cli.output import as_json, print_json, print_lines, print_table, size_text


@click.group()
def admin() -> None:
    """The cluster: its nodes, its layout, its space."""


@admin.command()
@as_json
def cluster(*, as_json: bool) -> None:
    """Space, copies and warnings."""
    with connected() as box:
        facts = box.admin.cluster()
    if as_json:
        print_json(facts)
        return
    copies = ", ".join(f"{number} with {have}" for have, number in sorted(facts.copies.items()))
    print_lines(
        [
            (
                f"{facts.name}: minibox {facts.version}, {facts.replicas} copies, "
                f"{facts.ack} before an answer, layout {facts.layout}"
            ),
            (
                f"{size_text(facts.logical_bytes)} of content; {size_text(facts.used_bytes)} used "
                f"of {size_text(facts.capacity_bytes)}; room for {size_text(facts.usable_bytes)}"
            ),
            f"{facts.chunks} chunks ({copies or 'none'}); {facts.debt} lack copies",
            f"{facts.users} users",
            *(f"Warning: {each}" for each in facts.warnings),
        ]
    )


@admin.command()
@as_json
def nodes(*, as_json: bool) -> None:
    """The storage nodes."""
    with connected() as box:
        found = box.admin.nodes()
    if as_json:
        print_json(found)
        return
    rows = [
        [
            each.id,
            each.state,
            each.zone,
            size_text(each.used),
            size_text(each.free),
            str(each.chunks),
            "-" if each.heartbeat_age is None else f"{each.heartbeat_age:.1f} s",
            "yes" if each.safe_to_remove else "no",
        ]
        for each in found
    ]
    head = ["node", "state", "zone", "used", "free", "chunks", "heard", "safe to remove"]
    print_table(head, rows)


@admin.command()
@as_json
def layout(*, as_json: bool) -> None:
    """Which node should hold how much."""
    with connected() as box:
        facts = box.admin.layout()
    if as_json:
        print_json(facts)
        return
    print_lines(
        [f"Layout {facts.version}: {facts.replicas} copies of {facts.partitions} partitions"]
    )
    rows = [
        [each.node, each.zone, size_text(each.capacity), str(each.partitions), f"{each.ideal:.1f}"]
        for each in facts.members
    ]
    print_table(["node", "zone", "capacity", "partitions", "ideal"], rows)
