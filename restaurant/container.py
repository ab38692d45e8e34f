"""The model's services, made when they are first used, over one shared client."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

from openai import AsyncOpenAI

from leakline.restaurant.chat import ChatAgent
from leakline.restaurant.leaks import Leak
from leakline.restaurant.menu import OrderItem
from leakline.restaurant.orders import OrderReader
from leakline.restaurant.settings import Settings
from leakline.restaurant.speech import Speaker
from leakline.restaurant.transcriber import Transcriber


class Transcribes(Protocol):
    """Speech to text."""

    async def transcribe(self, audio: bytes) -> str:
        """The words of some mu-law audio."""


class Speaks(Protocol):
    """Text to speech."""

    async def speak(self, text: str) -> bytes:
        """A WAV file of `text`."""


class Chats(Protocol):
    """The agent that answers in text."""

    async def reply(self, said: str) -> str:
        """The whole answer."""

    async def first_words(self, said: str) -> str:
        """The beginning of the answer."""


class ReadsOrders(Protocol):
    """Reads an order out of a transcript."""

    async def read(self, transcript: str) -> tuple[OrderItem, ...]:
        """The items that were ordered."""


class StandIn:
    """Stands in for all services on a server without an API key: nothing is heard, said or ordered."""

    async def transcribe(self, audio: bytes) -> str:
        """No words."""
        return ""

    async def speak(self, text: str) -> bytes:
        """No sound."""
        return b""

    async def reply(self, said: str) -> str:
        """A sentence that says what is missing."""
        return "The model has not been set up."

    async def first_words(self, said: str) -> str:
        """The same."""
        return await self.reply(said)

    async def read(self, transcript: str) -> tuple[OrderItem, ...]:
        """No items."""
        return ()


class Container:
    """Makes the services and their client, and closes what it made."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stand_in = None if settings.api_key else StandIn()
        self._clients: list[AsyncOpenAI] = []

    def client(self) -> AsyncOpenAI:
        """The client that all services share."""
        if Leak.DUPLICATE_CLIENTS in self._settings.leaks or not self._clients:
            # The good way makes one client; the bad way makes one for each use, each with its own connection pool.
            self._clients.append(
                AsyncOpenAI(api_key=self._settings.api_key, base_url=self._settings.base_url, max_retries=0)
            )
        return self._clients[-1]

    @cached_property
    def transcriber(self) -> Transcribes:
        """Speech to text."""
        leaks = Leak.UPLOAD_STREAMS in self._settings.leaks
        return self._stand_in or Transcriber(
            self.client, model=self._settings.transcription_model, leak_uploads=leaks
        )

    @cached_property
    def speech(self) -> Speaks:
        """Text to speech."""
        return self._stand_in or Speaker(self.client, model=self._settings.speech_model)

    @cached_property
    def chat(self) -> Chats:
        """The agent that answers in text."""
        leaks = Leak.UNAWAITED_CLOSE in self._settings.leaks
        return self._stand_in or ChatAgent(self.client, model=self._settings.chat_model, leak_streams=leaks)

    @cached_property
    def orders(self) -> ReadsOrders:
        """Reads an order out of a transcript."""
        return self._stand_in or OrderReader(
            self.client,
            model=self._settings.chat_model,
            timeout_s=self._settings.order_timeout_s,
            leak_timer=Leak.TIMEOUT_TIMERS in self._settings.leaks,
        )

    async def close(self) -> None:
        """Close every client that was made."""
        clients, self._clients = self._clients, []
        for client in clients:
            await client.close()
