"""X-Twilio-Signature: how Twilio signs its requests, both webhooks and WebSocket upgrades.

The method is that of Twilio's docs, "Webhooks Security": HMAC-SHA1, keyed with the auth token, of the full URL
followed by the sorted form fields, in base64.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

HEADER = "X-Twilio-Signature"
"""Name of the HTTP header that carries the signature."""


def signature(auth_token: str, url: str, fields: Mapping[str, str] | None = None) -> str:
    """The signature of a request to `url` with the form `fields` (none for a GET or a WebSocket)."""
    signed = url + "".join(name + value for name, value in sorted((fields or {}).items()))
    digest = hmac.new(auth_token.encode(), signed.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode("ascii")
