"""`python -m binventory` is the command `binventory`."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point: imports the command line, which takes a moment in which Ctrl-C would be a traceback."""
    try:
        from binventory.cli import main as command_line
    except KeyboardInterrupt:
        sys.exit(130)
    command_line()


if __name__ == "__main__":
    main()
