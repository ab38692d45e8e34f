"""The leaks that can be switched on, and how they are named in RESTAURANT_LEAKS.

Each is a mistake seen in real voice servers. The good way and the bad way are both in the function that is
named here.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from enum import StrEnum

VARIABLE = "RESTAURANT_LEAKS"


class Leak(StrEnum):
    """A leak that the server can be given."""

    DUPLICATE_CLIENTS = "duplicate_clients"
    """Each use makes an OpenAI client of its own, with its own pool of connections (`container.Container.client`)."""

    ORPHANED_INTERVALS = "orphaned_intervals"
    """The sweep for stale calls is started in each busy period and never stopped (`bridge.Bridge._leave`)."""

    WEBSOCKET_LISTENERS = "websocket_listeners"
    """A call's listeners stay registered after it has ended (`bridge.CallSession.close`)."""

    TIMEOUT_TIMERS = "timeout_timers"
    """A timeout's timer is not cancelled when the operation finishes first (`timeouts.with_timeout`)."""

    UPLOAD_STREAMS = "upload_streams"
    """An interrupted upload leaves its temporary file on disk, and open (`transcriber.Transcriber.transcribe`)."""

    UNBOUNDED_CARTS = "unbounded_carts"
    """Carts are kept for ever (`menu.Carts.close`)."""

    DUPLICATE_ADAPTERS = "duplicate_adapters"
    """A call connects a second adapter that nobody disconnects (`bridge.CallSession._connect`)."""

    WHOLE_RECORDINGS = "whole_recordings"
    """Each piece of a recording is appended to a copy of all before it (`recordings.Recording.append`)."""

    CACHE_POLLING = "cache_polling"
    """A timer polls for expired carts, a hundred times a second (`menu.Carts.start`)."""

    SILENT_ERRORS = "silent_errors"
    """Errors are swallowed and not logged (`bridge.CallSession.close`)."""

    MODEL_SOCKETS = "model_sockets"
    """The model's socket stays open when the caller hangs up (`bridge.CallSession.close`)."""

    HANDSHAKE_SOCKETS = "handshake_sockets"
    """The model's socket stays open when the caller hangs up during its handshake (`bridge.CallSession.close`)."""

    CALL_TASKS = "call_tasks"
    """A call's reporting task is never cancelled (`twilio_stream.TwilioStream.close`)."""

    REFUSED_CALLS = "refused_calls"
    """A call above the limit waits for ever, with its socket open (`bridge.Bridge._refuse`)."""

    UNAWAITED_CLOSE = "unawaited_close"
    """A stream is read in part, and its `close()` is not awaited (`chat.ChatAgent.first_words`)."""

    NATIVE_BUFFERS = "native_buffers"
    """A call's native buffer is never freed (`twilio_stream.TwilioStream.close`)."""


def parse(text: str) -> AbstractSet[Leak]:
    """The leaks that `text` names: `none`, `all`, or names with commas between. Raises ValueError."""
    text = text.strip()
    if text in ("", "none"):
        return frozenset()
    if text == "all":
        return frozenset(Leak)
    chosen = set()
    for name in text.split(","):
        try:
            chosen.add(Leak(name.strip()))
        except ValueError:
            known = ", ".join(Leak)
            raise ValueError(f"expected none, all, or of {known}; found {name.strip()!r}") from None
    return frozenset(chosen)
