"""leakline's agent: counts what a Python process holds, when the harness asks.

It runs in the SUT, so it keeps these rules: standard library only; no library of the SUT's imported that
the SUT has not imported itself; never a call into SUT code (no repr, no getattr on its objects); nothing
changed in the process until the harness asks for it; and on any error it steps aside and says so over its
socket.
"""

from leakline_agent.link import start

__all__ = ["start"]
