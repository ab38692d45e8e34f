"""The console script, and `python -m leakline`: the command line, imported where Ctrl-C is already heard."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""

CANNOT_RUN = 3
"""Exit code when leakline cannot run here, as when a run fails."""


def main() -> None:
    """Do what the command line says, and exit."""
    try:
        try:
            from leakline import cli
        except ImportError as error:  # not 1, Python's own code for it: that says "leaking", to git bisect too
            sys.stderr.write(
                f"leakline: what it runs on cannot be imported: {error}; is it installed completely, and does a file "
                "of this project that is on PYTHONPATH have the name of one of its packages?\n"
            )
            sys.exit(CANNOT_RUN)
        cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("leakline: interrupted; all that was started has been stopped\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
