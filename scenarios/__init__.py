"""Scripted calls: what is said and done in a call, both ends in one script, as data. Opens no socket."""

from fakes.openai.script import FunctionCall
from scenarios.library import BUILT_IN, load
from scenarios.scenario import Scenario, ScenarioError
from scenarios.steps import Agent, Drop, HangUp, Listen, Pause, Press, Say, Step

__all__ = [
    "BUILT_IN",
    "Agent",
    "Drop",
    "FunctionCall",
    "HangUp",
    "Listen",
    "Pause",
    "Press",
    "Say",
    "Scenario",
    "ScenarioError",
    "Step",
    "load",
]
