"""What the server is told from outside, read once at start-up."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from restaurant import leaks
from restaurant.leaks import Leak


@dataclass(frozen=True)
class Settings:
    """The server's configuration."""

    api_key: str
    base_url: str = "https://api.openai.com/v1"
    realtime_model: str = "gpt-realtime"
    chat_model: str = "gpt-4o-mini"
    order_timeout_s: float = 30.0
    leaks: AbstractSet[Leak] = frozenset()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read OPENAI_API_KEY, OPENAI_BASE_URL and RESTAURANT_LEAKS. Raises ValueError."""
        try:
            chosen = leaks.parse(environment.get(leaks.VARIABLE, "none"))
        except ValueError as error:
            raise ValueError(f"{leaks.VARIABLE}: {error}") from None
        return cls(
            api_key=environment.get("OPENAI_API_KEY", ""),
            base_url=environment.get("OPENAI_BASE_URL") or cls.base_url,
            leaks=chosen,
        )

    @property
    def realtime_url(self) -> str:
        """The Realtime API's WebSocket URL."""
        parts = urlsplit(self.base_url)
        scheme = "ws" if parts.scheme == "http" else "wss"
        path = parts.path.rstrip("/") + "/realtime"
        return urlunsplit((scheme, parts.netloc, path, f"model={self.realtime_model}", ""))
