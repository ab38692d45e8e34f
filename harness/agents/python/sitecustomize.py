"""Starts leakline's agent in a Python process of the SUT, then runs the SUT's own sitecustomize.

Standard library only. Without LEAKLINE_AGENT and LEAKLINE_INTERCEPT it runs the SUT's sitecustomize and no more.
"""


def _start_agent():
    import os

    address = os.environ.get("LEAKLINE_AGENT")
    if address:
        try:
            import leakline_agent

            leakline_agent.start(address)
        except Exception:
            pass  # the SUT must start even if its agent cannot; the harness reports that no agent connected
    if os.environ.get("LEAKLINE_INTERCEPT"):
        from leakline_agent import intercept

        intercept.start()  # an error here is raised: without redirection the SUT would call the real host


def _run_own_sitecustomize():
    """Find the sitecustomize that this file hides on sys.path, and run it in its place."""
    import os
    import sys
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    here = os.path.dirname(os.path.abspath(__file__))
    others = [path for path in sys.path if os.path.abspath(path or ".") != here]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


_start_agent()
_run_own_sitecustomize()
