"""The console script, and `python -m leakline`: the command line, imported where Ctrl-C is already heard."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""


def main() -> None:
    """Do what the command line says, and exit."""
    try:
        from leakline import cli

        cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("leakline: interrupted; all that was started has been stopped\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
