"""A fake Twilio: a call's webhook and TwiML, and the caller's end of its Media Stream."""

from fakes.twilio.beat import Pace
from fakes.twilio.caller import CallEnd, Carried, StreamCaller, StreamDriver
from fakes.twilio.media_stream import MediaStream, StreamError, StreamIds
from fakes.twilio.phone import Answer, AnyStream, Line, Phone, PhoneCall, line_for
from fakes.twilio.relay import ConversationRelay
from fakes.twilio.rest import TwilioRest
from fakes.twilio.signature import signature
from fakes.twilio.twiml import TwimlError

__all__ = [
    "Answer",
    "AnyStream",
    "CallEnd",
    "Carried",
    "ConversationRelay",
    "Line",
    "MediaStream",
    "Pace",
    "Phone",
    "PhoneCall",
    "StreamCaller",
    "StreamDriver",
    "StreamError",
    "StreamIds",
    "TwilioRest",
    "TwimlError",
    "line_for",
    "signature",
]
