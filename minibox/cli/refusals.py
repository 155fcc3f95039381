"""How a command ends: 0 done, 1 refused with one line on stderr, 2 used wrongly."""

import os
import sys
from typing import Any

import click

from minibox.errors import Failure, Unauthenticated

REFUSED = 1


class RefusingGroup(click.Group):
    """Commands whose failures are one line, not a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order in which they were added: what one needs first stands first."""
        return list(self.commands)

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 - as click has it
        """Run and exit."""
        try:
            return super().main(*args, **extra)
        except Failure as failure:
            refuse(sentence_of(failure))
        except BrokenPipeError:
            _silence_stdout()
            sys.exit(REFUSED)
        except OSError as problem:
            refuse(_os_sentence(problem))


def refuse(reason: str) -> None:
    """Say why not, and exit."""
    click.echo(f"minibox: {' '.join(reason.split())}", err=True)
    sys.exit(REFUSED)


def sentence_of(failure: Failure) -> str:
    """A failure for who sits at a terminal."""
    if isinstance(failure, Unauthenticated):
        return "You are not logged in; run: minibox login"
    return str(failure)


def check_usage(*problems: tuple[bool, str]) -> None:
    """Refuse wrong usage: the first of these that is so."""
    for is_so, text in problems:
        if is_so:
            raise click.UsageError(text)


def _os_sentence(problem: OSError) -> str:
    reason = problem.strerror or str(problem)
    return f"{problem.filename}: {reason}" if problem.filename else reason


def _silence_stdout() -> None:
    """The reader of our output is gone; the interpreter must not complain about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
