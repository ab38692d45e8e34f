"""The small endpoints: models, embeddings, and client secrets for Realtime sessions.

Shapes are those of `types/model.py`, `types/create_embedding_response.py` and
`types/realtime/client_secret_create_response.py` in the OpenAI SDK.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import numpy as np

from leakline.fakes.openai.errors import ClientError, parameter, wrong_type
from leakline.fakes.openai.session import default_session, updated_session

MODELS = (
    "gpt-realtime",
    "gpt-realtime-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-tts",
    "gpt-4o-transcribe",
    "text-embedding-3-large",
    "text-embedding-3-small",
    "tts-1",
    "whisper-1",
)
"""The models that `/v1/models` lists. Every endpoint accepts any other name too."""

_DIMENSIONS = {"text-embedding-3-large": 3072}
_MOST_INPUTS = 2048
"""Most texts of one request for embeddings (OpenAI SDK, `types/embedding_create_params.py`)."""
_LEAST_TTL_S, _MOST_TTL_S, _DEFAULT_TTL_S = 10, 7200, 600
"""How long a client secret is valid, in seconds: at least, at most, by default (OpenAI SDK,
`types/realtime/client_secret_create_params.py`)."""


def models() -> dict[str, Any]:
    """The list of models."""
    return {"object": "list", "data": [model(name) for name in MODELS]}


def model(name: str) -> dict[str, Any]:
    """One model. Raises ClientError (404) for a name that is not in MODELS."""
    if name not in MODELS:
        raise ClientError(
            f"The model '{name}' does not exist or you do not have access to it.",
            code="model_not_found",
            param="model",
            status=404,
        )
    return {"id": name, "object": "model", "created": 1_715_367_049, "owned_by": "system"}


def embeddings(body: object) -> dict[str, Any]:
    """The answer to a request for embeddings: unit vectors, equal for equal texts. Raises ClientError."""
    if not isinstance(body, dict):
        raise ClientError("Invalid type: expected a JSON object.", code="invalid_type")
    name = parameter(body, "model", str, "a string")
    given = parameter(body, "input", object, "a string or an array")
    inputs = given if isinstance(given, list) and not all(isinstance(i, int) for i in given) else [given]
    if not inputs or len(inputs) > _MOST_INPUTS or given == "":
        raise ClientError(
            f"Invalid 'input': expected 1 to {_MOST_INPUTS} texts, none of them empty.",
            code="invalid_value",
            param="input",
        )
    size = body.get("dimensions", _DIMENSIONS.get(name, 1536))
    if isinstance(size, bool) or not isinstance(size, int):
        raise wrong_type("dimensions", "an integer", size)
    if not 1 <= size <= 3072:
        raise ClientError(f"Invalid 'dimensions': {size}.", code="invalid_value", param="dimensions")
    as_text = body.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(inputs):
        vector = _vector(str(text), size)
        encoded = base64.b64encode(vector.tobytes()).decode("ascii") if as_text else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": encoded})
    tokens = sum(len(str(text).split()) for text in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": name, "usage": usage}


def client_secret(body: object, *, number: int, now: int) -> dict[str, Any]:
    """The answer to a request for a Realtime client secret; `now` is Unix seconds. Raises ClientError."""
    if not isinstance(body, dict):
        raise ClientError("Invalid type: expected a JSON object.", code="invalid_type")
    expires = body.get("expires_after")
    ttl = expires.get("seconds", _DEFAULT_TTL_S) if isinstance(expires, dict) else _DEFAULT_TTL_S
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not _LEAST_TTL_S <= ttl <= _MOST_TTL_S:
        raise ClientError(
            f"Invalid 'expires_after.seconds': {ttl!r}. Expected an integer from {_LEAST_TTL_S} to {_MOST_TTL_S}.",
            code="invalid_value",
            param="expires_after.seconds",
        )
    given = body.get("session") or {"type": "realtime"}
    name = given.get("model") if isinstance(given, dict) else None
    session = default_session(f"sess_{number:08d}", name if isinstance(name, str) else "gpt-realtime", 0)
    return {
        "value": f"ek_{hashlib.sha256(str(number).encode()).hexdigest()[:32]}",
        "expires_at": now + ttl,
        "session": updated_session(session, given),
    }


def _vector(text: str, size: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    vector = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)
