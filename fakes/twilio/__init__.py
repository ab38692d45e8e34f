"""A fake Twilio: the caller's end of a Media Stream."""

from fakes.twilio.caller import CallEnd, Pace, StreamCaller, StreamDriver
from fakes.twilio.media_stream import MediaStream, StreamError, StreamIds

__all__ = ["CallEnd", "MediaStream", "Pace", "StreamCaller", "StreamDriver", "StreamError", "StreamIds"]
