"""The caller's network on the way to the server, as a Sans-I/O machine: it delays messages and loses frames."""

from __future__ import annotations

import random
from collections.abc import Sequence

from leakline.fakes.audio import FRAME_S
from leakline.scenarios.caller import Network

_STALLS_EVERY_S = 1.0
"""Mean time between two moments at which the network begins to hold messages back, in seconds of call time."""

Message = str | bytes
"""A WebSocket message, as text or binary."""


class Uplink:
    """One call's network. The call's `number` seeds it: the same number has the same delays and losses."""

    def __init__(self, network: Network, number: int) -> None:
        self._network = network
        self._random = random.Random(number)
        self._held: list[Message] = []
        self._until: float | None = None

    def loses(self) -> bool:
        """Whether the next audio frame is lost. Draws anew at each call."""
        return self._random.random() < self._network.loss

    def frame(self, now: float, messages: Sequence[Message]) -> list[Message]:
        """The messages that get through at the frame that is due `now`, those held back before included."""
        self._held += messages
        if self._until is not None and now < self._until:
            return []
        self._until = None
        if self._network.jitter_s and self._random.random() < FRAME_S / _STALLS_EVERY_S:
            self._until = now + self._random.uniform(FRAME_S, self._network.jitter_s)
        return self.flush()

    def answer(self, messages: Sequence[Message]) -> list[Message]:
        """The part of an answer sent between two frames that gets through: it never overtakes what is held back."""
        if self._until is None:
            return list(messages)
        self._held += messages
        return []

    def flush(self) -> list[Message]:
        """Release all messages that are held back."""
        held, self._held = self._held, []
        return held
