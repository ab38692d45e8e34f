"""The server's process, started by the run or attached to, and the cleaning up after it. Knows of no probe."""
