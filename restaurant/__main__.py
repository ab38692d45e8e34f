"""Run the server: `python -m leakline.restaurant --port 5050`."""

from __future__ import annotations

import argparse
import logging
import os
import sys

import uvicorn

from leakline.restaurant.app import create_app
from leakline.restaurant.settings import Settings


def main() -> None:
    """Read the settings and serve until stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m leakline.restaurant", description="The Grill: a voice-ordering server."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5050)
    parser.add_argument("--loop", choices=["auto", "asyncio", "uvloop"], default="auto")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="warning")
    options = parser.parse_args()
    logging.basicConfig(level=options.log_level.upper())
    try:
        settings = Settings.from_environment(os.environ)
    except ValueError as error:
        sys.exit(str(error))
    uvicorn.run(
        create_app(settings),
        host=options.host,
        port=options.port,
        loop=options.loop,
        log_level=options.log_level,
        access_log=False,
    )


if __name__ == "__main__":
    main()
