"""A fake Twilio: a call's webhook and TwiML, and the caller's end of its Media Stream."""

from fakes.twilio.caller import CallEnd, Pace, StreamCaller, StreamDriver
from fakes.twilio.media_stream import MediaStream, StreamError, StreamIds
from fakes.twilio.phone import Line, Phone, PhoneCall
from fakes.twilio.signature import signature
from fakes.twilio.twiml import TwimlError

__all__ = [
    "CallEnd",
    "Line",
    "MediaStream",
    "Pace",
    "Phone",
    "PhoneCall",
    "StreamCaller",
    "StreamDriver",
    "StreamError",
    "StreamIds",
    "TwimlError",
    "signature",
]
