"""The service's errors for wrong requests, sent over HTTP or as a Realtime event."""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """The client sent something wrong. A Realtime session stays open after it.

    Args:
        code: the service's error code, or None where the service gives none.
        param: the parameter that is wrong, such as `session.type`.
        status: the HTTP status, for requests over HTTP.
        kind: the service's error `type`.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        status: int = 400,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.status = status
        self.kind = kind

    @property
    def body(self) -> dict[str, Any]:
        """The service's `error` object."""
        return {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}


def missing(name: str) -> ClientError:
    """The error for a required parameter that is missing."""
    return ClientError(f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)


def wrong_type(name: str, expected: str, found: object) -> ClientError:
    """The error for a parameter of the wrong type."""
    shown = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer"}
    kind = "null" if found is None else shown.get(type(found), "a number")
    return ClientError(
        f"Invalid type for '{name}': expected {expected}, but got {kind} instead.", code="invalid_type", param=name
    )


def parameter(body: dict[str, Any], name: str, kind: type, expected: str) -> Any:
    """`body[name]`, which must be there and be of `kind`. Raises ClientError."""
    if name not in body:
        raise missing(name)
    value = body[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise wrong_type(name, expected, value)
    return value
