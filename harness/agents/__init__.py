"""Code that runs inside a SUT: self-contained, standard library only, injected by environment variables."""

from pathlib import Path

PYTHON_AGENT_DIR = Path(__file__).with_name("python")
"""Directory to put on a Python SUT's PYTHONPATH."""

NODE_AGENT = Path(__file__).with_name("node") / "preload.cjs"
"""Script for a Node SUT to load first (`NODE_OPTIONS=--require`)."""

ADDRESS_VARIABLE = "LEAKLINE_AGENT"
"""Environment variable with the path of the harness's Unix socket; the agents do nothing without it."""

LEND_VARIABLE = "LEAKLINE_LEND"
"""Environment variable with a folder that holds memray and nothing else, for a Python SUT without it."""

CODE_VARIABLE = "LEAKLINE_CODE"
"""Environment variable with directories (os.pathsep between) whose lines count as the user's own."""
