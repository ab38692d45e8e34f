"""A fake Twilio: webhooks and TwiML, the caller's end of Media Streams and ConversationRelay, and the REST API."""

from leakline.fakes.twilio.beat import Pace
from leakline.fakes.twilio.caller import CallEnd, StreamCaller, StreamDriver, StreamStats
from leakline.fakes.twilio.media_stream import MediaStream, StreamError, StreamIds
from leakline.fakes.twilio.phone import Answer, AnyStream, CallParties, Phone, PhoneCall, machine_for
from leakline.fakes.twilio.relay import ConversationRelay
from leakline.fakes.twilio.rest import TwilioRest
from leakline.fakes.twilio.signature import signature
from leakline.fakes.twilio.twiml import TwimlError

__all__ = [
    "Answer",
    "AnyStream",
    "CallEnd",
    "CallParties",
    "ConversationRelay",
    "MediaStream",
    "Pace",
    "Phone",
    "PhoneCall",
    "StreamCaller",
    "StreamDriver",
    "StreamError",
    "StreamIds",
    "StreamStats",
    "TwilioRest",
    "TwimlError",
    "machine_for",
    "signature",
]
