"""The process under test, started or found running, and what is left of it cleaned up. Knows of no probe."""
