"""Scripted calls as plain data: what caller and agent say and do, both in one script. Opens no socket."""

from leakline.fakes.openai.script import FunctionCall
from leakline.scenarios.caller import Browser, Network
from leakline.scenarios.library import BUILT_IN, load
from leakline.scenarios.scenario import Scenario, ScenarioError
from leakline.scenarios.steps import Agent, Drop, HangUp, Listen, Pause, Press, Say, Send, Step

__all__ = [
    "BUILT_IN",
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
