"""leakline's agent: counts the resources of a Python process when the harness asks.

It runs inside the server under test (SUT), so it keeps these rules: it uses the standard library only; it imports no
library that the SUT has not imported itself; it never runs SUT code (no repr, no getattr on the SUT's objects); it
changes nothing in the process until the harness asks for it; and an error is caught and sent to the harness, which
then detaches the agent.
"""

from leakline_agent.channel import start

__all__ = ["start"]
