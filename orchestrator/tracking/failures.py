"""Kinds of MLflow failures: waiting may fix it, nothing is taken until someone fixes it, or this content is refused."""

from __future__ import annotations

from world_models.errors import UserError

_SHUT = {"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED", "ENDPOINT_NOT_FOUND"}
_BAD_CONTENT = {
    *("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "RESOURCE_ALREADY_EXISTS"),
    *("ALREADY_EXISTS", "INVALID_STATE"),
}


class TrackingError(UserError):
    """Writing to MLflow failed; the ledger has everything, so it can be written later."""


class UnavailableError(TrackingError):
    """A failure that waiting may fix: the server is down or slow, the disk is full, or the database is unavailable."""


class RefusedError(TrackingError):
    """The store takes nothing until someone fixes it: a wrong address, wrong credentials or a deleted experiment."""


class RejectedError(TrackingError):
    """The store works but refuses this content."""


def kind_of(error: Exception) -> type[TrackingError]:
    """The kind of a failure. MLflow has its own names for HTTP codes; artifacts fail with plain HTTP errors."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import HTTPError

    if isinstance(error, HTTPError) and error.response is not None:
        status = error.response.status_code
        if status in (401, 403):
            return RefusedError
        return RejectedError if status < 500 and status not in (408, 425, 429) else UnavailableError
    if not isinstance(error, MlflowException):
        return UnavailableError
    if error.error_code in _SHUT:
        return RefusedError
    # A server reports errors of its database as bad requests.
    ours = error.error_code in _BAD_CONTENT and not any(word in str(error) for word in ("sqlalche.me", "psycopg"))
    return RejectedError if ours else UnavailableError
