"""Scripted calls: what is said and done in a call, both ends in one script, as data. Opens no socket."""

from pathlib import Path

from fakes.openai.script import FunctionCall
from scenarios.caller import Browser, Network
from scenarios.library import BUILT_IN, load
from scenarios.scenario import Scenario, ScenarioError
from scenarios.steps import Agent, Drop, HangUp, Listen, Pause, Press, Say, Send, Step

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
"""What Locust is given for a load run."""

__all__ = [
    "BUILT_IN",
    "LOCUSTFILE",
    "Agent",
    "Browser",
    "Drop",
    "FunctionCall",
    "HangUp",
    "Listen",
    "Network",
    "Pause",
    "Press",
    "Say",
    "Scenario",
    "ScenarioError",
    "Send",
    "Step",
    "load",
]
