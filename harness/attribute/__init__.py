"""From what survived a trace window to findings: which line made it, what retains it. Pure functions."""
