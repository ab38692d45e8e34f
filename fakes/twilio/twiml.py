"""TwiML: the document that a webhook answers with, parsed into plain data.

Verbs, nouns and attributes are those of Twilio's docs, "TwiML for Programmable Voice". A verb that the fake does not
support becomes `Unknown`, to be reported; a document that Twilio would refuse raises TwimlError.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MOST_BYTES = 64 * 1024
"""Largest document that Twilio accepts (error 11750)."""

Method = Literal["GET", "POST"]


class TwimlError(Exception):
    """A document that Twilio would refuse; `code` is Twilio's error code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(f"{message} (Twilio error {code})")
        self.code = code


@dataclass(frozen=True)
class Say:
    """Text to speech."""

    text: str
    loop: int = 1


@dataclass(frozen=True)
class Play:
    """A sound file, or keys to press."""

    url: str
    digits: str = ""
    loop: int = 1


@dataclass(frozen=True)
class Pause:
    """Silence."""

    seconds: float = 1.0


@dataclass(frozen=True)
class Redirect:
    """Continue with the document at another URL."""

    url: str
    method: Method = "POST"


@dataclass(frozen=True)
class Hangup:
    """End the call."""


@dataclass(frozen=True)
class Reject:
    """Do not answer the call."""

    reason: Literal["rejected", "busy"] = "rejected"


@dataclass(frozen=True)
class Dial:
    """Connect the caller to somebody else."""

    number: str
    action: str = ""
    method: Method = "POST"


@dataclass(frozen=True)
class Gather:
    """Collect keys or speech from the caller, while the prompts play."""

    action: str = ""
    method: Method = "POST"
    input: str = "dtmf"
    timeout_s: float = 5.0
    num_digits: int = 0
    finish_on_key: str = "#"
    prompts: tuple[Say | Play | Pause, ...] = ()
    action_on_empty: bool = False


@dataclass(frozen=True)
class Stream:
    """A Media Stream: bidirectional in `Connect`, one way in `Start`."""

    url: str
    bidirectional: bool
    parameters: Mapping[str, str] = field(default_factory=dict)
    track: str = "inbound_track"
    name: str = ""
    action: str = ""
    method: Method = "POST"
    status_callback: str = ""


@dataclass(frozen=True)
class ConversationRelay:
    """A conversation in text: Twilio converts speech to text and back, the server receives and sends text."""

    url: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    welcome_greeting: str = ""
    action: str = ""
    method: Method = "POST"


@dataclass(frozen=True)
class Unknown:
    """A verb that the fake does not support."""

    name: str


Verb = Say | Play | Pause | Redirect | Hangup | Reject | Dial | Gather | Stream | ConversationRelay | Unknown


def parse(document: str | bytes, content_type: str = "text/xml") -> tuple[Verb, ...]:
    """The verbs of a document, in order. Raises TwimlError."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("text/xml", "application/xml", "text/html"):
        raise TwimlError(f"expected a document of type text/xml, found {kind or 'none'}", 12300)
    raw = document.encode() if isinstance(document, str) else document
    if len(raw) > MOST_BYTES:
        raise TwimlError(f"expected at most {MOST_BYTES} bytes, found {len(raw)}", 11750)
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        raise TwimlError("expected a document without declarations", 12100)
    try:
        root = ET.fromstring(raw)  # noqa: S314  (entities are refused above)
    except ET.ParseError as error:
        raise TwimlError(f"the document is not XML: {error}", 12100) from None
    if root.tag != "Response":
        raise TwimlError(f"expected the root element Response, found {root.tag}", 12100)
    verbs: list[Verb] = []
    for element in root:
        verbs += _verbs(element)
    return tuple(verbs)


def _verbs(element: ET.Element) -> list[Verb]:
    a = element.attrib
    match element.tag:
        case "Say" | "Play" | "Pause":
            return [_prompt(element)]
        case "Redirect":
            return [Redirect(_text(element), _method(a))]
        case "Hangup":
            return [Hangup()]
        case "Reject":
            return [Reject("busy" if a.get("reason") == "busy" else "rejected")]
        case "Dial":
            number = _text(element) or next((_text(child) for child in element), "")
            return [Dial(number, a.get("action", ""), _method(a))]
        case "Gather":
            return [
                Gather(
                    action=a.get("action", ""),
                    method=_method(a),
                    input=a.get("input", "dtmf"),
                    timeout_s=_number(a, "timeout", 5.0),
                    num_digits=int(_number(a, "numDigits", 0)),
                    finish_on_key=a.get("finishOnKey", "#"),
                    prompts=tuple(_prompt(c) for c in element if c.tag in ("Say", "Play", "Pause")),
                    action_on_empty=a.get("actionOnEmptyResult", "false").lower() == "true",
                )
            ]
        case "Connect" | "Start":
            return [_noun(child, element) for child in element] or [Unknown(f"{element.tag} without a noun")]
        case _:
            return [Unknown(element.tag)]


def _prompt(element: ET.Element) -> Say | Play | Pause:
    loop = max(1, int(_number(element.attrib, "loop", 1)))
    if element.tag == "Say":
        return Say(_text(element), loop)
    if element.tag == "Play":
        return Play(_text(element), element.get("digits", ""), loop)
    return Pause(_number(element.attrib, "length", 1.0))


def _noun(child: ET.Element, verb: ET.Element) -> Verb:
    parameters = {p.get("name", ""): p.get("value", "") for p in child if p.tag == "Parameter"}
    action, method = verb.get("action", ""), _method(verb.attrib)
    url = child.get("url", "")
    if child.tag == "Stream":
        if not url.startswith(("ws://", "wss://")):
            raise TwimlError(f"Stream: url: expected wss://..., found {url!r}", 31921)
        return Stream(
            url=url,
            bidirectional=verb.tag == "Connect",
            parameters=parameters,
            track=child.get("track", "inbound_track"),
            name=child.get("name", ""),
            action=action,
            method=method,
            status_callback=child.get("statusCallback", ""),
        )
    if child.tag == "ConversationRelay" and verb.tag == "Connect":
        return ConversationRelay(url, parameters, child.get("welcomeGreeting", ""), action, method)
    return Unknown(f"{verb.tag}/{child.tag}")


def _text(element: ET.Element) -> str:
    return "".join(element.itertext()).strip()


def _method(attributes: Mapping[str, str]) -> Method:
    return "GET" if attributes.get("method", "POST").upper() == "GET" else "POST"


def _number(attributes: Mapping[str, str], name: str, default: float) -> float:
    text = attributes.get(name)
    if text is None or text == "auto":
        return default
    try:
        value = float(text)
    except ValueError:
        raise TwimlError(f"{name}: expected a number, found {text!r}", 12200) from None
    return max(0.0, value)
