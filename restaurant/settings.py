"""The server's configuration, read from the environment once at start-up."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from leakline.restaurant import leaks
from leakline.restaurant.leaks import Leak


@dataclass(frozen=True)
class Settings:
    """The server's configuration."""

    api_key: str
    """The OpenAI API key; when it is empty, stand-ins answer in place of the model's services."""
    base_url: str = "https://api.openai.com/v1"
    realtime_model: str = "gpt-realtime"
    chat_model: str = "gpt-4o-mini"
    transcription_model: str = "gpt-4o-mini-transcribe"
    speech_model: str = "gpt-4o-mini-tts"
    order_timeout_s: float = 30.0
    max_calls: int = 500
    """Most concurrent calls; further ones are refused."""
    stale_call_s: float = 3600.0
    """Seconds after which a call is ended by the server."""
    idle_voice_s: int = 120
    """Seconds of silence after which a browser's session is ended."""
    cart_s: float = 1800.0
    """Seconds that a cart is kept which nobody closes."""
    leaks: AbstractSet[Leak] = frozenset()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read OPENAI_API_KEY, OPENAI_BASE_URL, RESTAURANT_MAX_CALLS, RESTAURANT_IDLE_VOICE_S, RESTAURANT_LEAKS.

        Raises ValueError.
        """
        try:
            chosen = leaks.parse(environment.get(leaks.VARIABLE, "none"))
        except ValueError as error:
            raise ValueError(f"{leaks.VARIABLE}: {error}") from None
        return cls(
            api_key=environment.get("OPENAI_API_KEY", ""),
            base_url=environment.get("OPENAI_BASE_URL") or cls.base_url,
            max_calls=_whole(environment, "RESTAURANT_MAX_CALLS", cls.max_calls),
            idle_voice_s=_whole(environment, "RESTAURANT_IDLE_VOICE_S", cls.idle_voice_s),
            leaks=chosen,
        )

    @property
    def realtime_url(self) -> str:
        """The Realtime API's WebSocket URL."""
        parts = urlsplit(self.base_url)
        scheme = "ws" if parts.scheme == "http" else "wss"
        path = parts.path.rstrip("/") + "/realtime"
        return urlunsplit((scheme, parts.netloc, path, f"model={self.realtime_model}", ""))


def _whole(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdigit():
        raise ValueError(f"{name}: expected a whole number, found {text!r}")
    return int(text)
