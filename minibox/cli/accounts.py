"""Commands about the account."""

import os
import sys

import click

from minibox.cli.connecting import connected
from minibox.cli.output import as_json, print_json, print_lines, size_text

PASSWORD_VARIABLE = "MINIBOX_PASSWORD"  # noqa: S105  a variable's name

password_stdin = click.option(
    "--password-stdin", is_flag=True, help=f"Read it from stdin; else {PASSWORD_VARIABLE}."
)


@click.command()
@click.argument("username")
@click.option("--email", help="An address to log in with as well.")
@password_stdin
@as_json
def register(username: str, email: str | None, *, password_stdin: bool, as_json: bool) -> None:
    """Make an account and log in."""
    password = _password(password_stdin, confirm=True)
    with connected() as box:
        user = box.register(username, password, email)
        box.login(username, password)
        if as_json:
            print_json(user)
        else:
            print_lines([f"Registered and logged in as {user.username} at {box.url}"])


@click.command()
@click.argument("username")
@password_stdin
@as_json
def login(username: str, *, password_stdin: bool, as_json: bool) -> None:
    """Log in; the server and the login are remembered."""
    password = _password(password_stdin, confirm=False)
    with connected() as box:
        box.login(username, password)
        if as_json:
            print_json({"url": box.url, "username": username})
        else:
            print_lines([f"Logged in as {username} at {box.url}"])


@click.command()
@click.option("--all", "all_devices", is_flag=True, help="End every session of the account.")
def logout(*, all_devices: bool) -> None:
    """End the session."""
    with connected() as box:
        box.logout(all_devices=all_devices)


@click.command()
@as_json
def whoami(*, as_json: bool) -> None:
    """The account and its quota."""
    with connected() as box:
        profile = box.whoami()
    if as_json:
        print_json(profile)
        return
    quota = profile.quota
    limit = "no limit" if quota.limit is None else f"of {size_text(quota.limit)}"
    print_lines(
        [
            f"{profile.username} ({profile.role})",
            (
                f"{size_text(quota.used)} used, {limit}; {size_text(quota.versions)} in former "
                f"versions, {size_text(quota.trash)} in the trash"
            ),
        ]
    )


def _password(from_stdin: bool, *, confirm: bool) -> str:  # noqa: FBT001
    """From stdin, the environment, or a person who types unseen."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    given = os.environ.get(PASSWORD_VARIABLE)
    if given is not None:
        return given
    typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True)
    return typed
