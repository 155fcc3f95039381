"""``minibox``: the command line's start."""

from minibox.cli.commands import minibox


def main() -> None:
    """Run the command line; never returns."""
    minibox(prog_name="minibox")


if __name__ == "__main__":
    main()
