"""Code that runs inside a server under test: standard library only, started by environment variables."""

from pathlib import Path

PYTHON_AGENT_DIR = Path(__file__).with_name("python")
"""Directory to put first on a Python server's PYTHONPATH: its `sitecustomize` starts the agent."""

NODE_AGENT = Path(__file__).with_name("node") / "preload.cjs"
"""Script that a Node server loads first (`NODE_OPTIONS=--require`)."""

ADDRESS_VARIABLE = "LEAKLINE_AGENT"
"""Environment variable: path of the harness's Unix socket. Without it the agents do nothing."""

LEND_VARIABLE = "LEAKLINE_LEND"
"""Environment variable: a folder that holds memray and nothing else, for a Python server without memray."""

CODE_VARIABLE = "LEAKLINE_CODE"
"""Environment variable: directories, separated by os.pathsep, whose code counts as the user's own."""
