"""A fake OpenAI: the Realtime API and the HTTP API on one port, answering by a script."""

from leakline.fakes.openai.script import FunctionCall, ModelScript, Turn
from leakline.fakes.openai.server import OpenAIServer

__all__ = ["FunctionCall", "ModelScript", "OpenAIServer", "Turn"]
