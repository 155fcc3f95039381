"""The command that measures a cluster, and the machine under it."""

from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import click

from minibox.cli.connecting import connected
from minibox.cli.output import as_json, print_json, print_lines, print_table

if TYPE_CHECKING:
    from minibox.client import Client
    from minibox.operate.bench import Limits, Measure, Scale

QUICK_DIVISOR = 16


@click.command()
@click.option("--running", is_flag=True, help="Measure the server of the saved login instead.")
@click.option("--passes", type=click.IntRange(1, 20), default=3, show_default=True)
@click.option("--quick", is_flag=True, help="A sixteenth of the work, once.")
@click.option("--folder", type=click.Path(exists=True, file_okay=False), default=".")
@as_json
def bench(*, running: bool, passes: int, quick: bool, folder: str, as_json: bool) -> None:
    """Measure a cluster of its own (below --folder), or a running one, and this machine."""
    from minibox.errors import Unauthenticated  # noqa: PLC0415
    from minibox.operate.bench import (  # noqa: PLC0415 - help must be quick
        measure_http,
        measure_library,
        measure_limits,
        temporary_cluster,
    )

    def tell(what: str) -> None:
        click.echo(f"{what} …", err=True)

    scale, passes = _scale(quick=quick), 1 if quick else passes
    tell("the machine's limits")
    limits = measure_limits(Path(folder), monotonic)
    with ExitStack() as opened:
        if running:
            client = opened.enter_context(connected())
        else:
            tell("starting a cluster")
            url, name, password = opened.enter_context(temporary_cluster(Path(folder)))
            client = opened.enter_context(_logged_in(url, name, password))
        if client.credentials is None:
            raise Unauthenticated
        token = client.credentials.access_token
        measures = measure_http(client.url, token, scale, passes, limits, tell)
        measures += measure_library(client, scale, passes, limits, tell)
    if as_json:
        print_json({"limits": limits, "measures": measures})
    else:
        _print(limits, measures)


def _scale(*, quick: bool) -> "Scale":
    from minibox.operate.bench import Scale  # noqa: PLC0415

    whole = Scale()
    if not quick:
        return whole
    return Scale(
        big_bytes=whole.big_bytes // QUICK_DIVISOR,
        middle_bytes=whole.middle_bytes // QUICK_DIVISOR,
        small_files=whole.small_files // QUICK_DIVISOR,
        library_bytes=whole.library_bytes // QUICK_DIVISOR,
        tree_files=whole.tree_files // QUICK_DIVISOR,
    )


def _logged_in(url: str, name: str, password: str) -> "Client":
    from minibox.client import Client  # noqa: PLC0415

    client = Client(url, username=name, password=password)
    client.login(name, password)
    return client


def _print(limits: "Limits", measures: "list[Measure]") -> None:
    ceilings = (
        f"three synced copies {limits.copies_mib} MiB/s, synced 10 KiB appends "
        f"{limits.appends}/s, loopback {limits.loopback_mib} MiB/s, SHA-256 on one core "
        f"{limits.sha256_mib} MiB/s"
    )
    print_lines([f"This machine: {ceilings}.", ""])
    rows = [
        [
            each.name,
            f"{each.median:g}",
            f"{each.lowest:g} to {each.highest:g}",
            each.unit,
            "" if each.p50_ms is None else f"{each.p50_ms:g} / {each.p99_ms:g} ms",
            "" if each.share is None else f"{100 * each.share:.0f} % of {each.limit}",
        ]
        for each in measures
    ]
    print_table(["work", "median", "range", "unit", "p50 / p99", "share"], rows)
