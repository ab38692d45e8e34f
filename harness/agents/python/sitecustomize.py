"""Starts leakline's agent in a Python process that leakline measures, then runs the SUT's own sitecustomize.

Standard library only. It does nothing but the second unless LEAKLINE_AGENT or LEAKLINE_INTERCEPT is set.
"""


def _start_agent():
    import os

    address = os.environ.get("LEAKLINE_AGENT")
    if address:
        try:
            import leakline_agent

            leakline_agent.start(address)
        except Exception:
            pass  # a SUT must start whatever becomes of its agent; the harness says that none came
    if os.environ.get("LEAKLINE_INTERCEPT"):
        from leakline_agent import intercept

        intercept.start()  # an error here is told: the SUT would else call the real host


def _chain():
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
_chain()
