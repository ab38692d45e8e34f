"""The caller's network on the way to the server: what it holds back, and what it loses. A Sans-I/O machine."""

from __future__ import annotations

import random
from collections.abc import Sequence

from leakline.fakes.audio import FRAME_S
from leakline.scenarios.caller import Network

_STALLS_EVERY_S = 1.0

Message = str | bytes


class Uplink:
    """Of one call; the same `number` meets with the same fate."""

    def __init__(self, network: Network, number: int) -> None:
        self._network = network
        self._random = random.Random(number)
        self._held: list[Message] = []
        self._until: float | None = None

    def loses(self) -> bool:
        """Whether the frame that is due is lost."""
        return self._random.random() < self._network.loss

    def frame(self, now: float, messages: Sequence[Message]) -> list[Message]:
        """What comes through at this frame, of what is due and of what was held back."""
        self._held += messages
        if self._until is not None and now < self._until:
            return []
        self._until = None
        if self._network.jitter_s and self._random.random() < FRAME_S / _STALLS_EVERY_S:
            self._until = now + self._random.uniform(FRAME_S, self._network.jitter_s)
        return self.flush()

    def answer(self, messages: Sequence[Message]) -> list[Message]:
        """What comes through of an answer between two frames: nothing overtakes what is held back."""
        if self._until is None:
            return list(messages)
        self._held += messages
        return []

    def flush(self) -> list[Message]:
        """All that is held back."""
        held, self._held = self._held, []
        return held
