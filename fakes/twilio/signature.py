"""X-Twilio-Signature: what Twilio signs its requests with, webhooks and WebSocket upgrades alike.

The method is that of Twilio's docs, "Webhooks Security": HMAC-SHA1, keyed with the auth token, of the full URL
followed by the sorted form fields, in base64.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

HEADER = "X-Twilio-Signature"


def signature(auth_token: str, url: str, fields: Mapping[str, str] | None = None) -> str:
    """The signature of a request to `url` with the form `fields` (none for GET and for a WebSocket)."""
    signed = url + "".join(name + value for name, value in sorted((fields or {}).items()))
    digest = hmac.new(auth_token.encode(), signed.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode("ascii")
