"""``python -m minibox``: the command line."""

from minibox.cli.__main__ import main

main()
