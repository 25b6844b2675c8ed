"""The members that a protocol asks for, and a plug-in may lack."""

from __future__ import annotations

import inspect

from world_models.errors import require


def require_members(what: str, value: object, protocol: type) -> None:
    """Raise UserError, naming them, unless an object has all members of a protocol; `what` names the object."""
    lacking = sorted(name for name in _members(protocol) if inspect.getattr_static(value, name, None) is None)
    own = {name for name in lacking if name not in getattr(value, "__dict__", {})}
    require(
        not own,
        f"{what} is {type(value).__name__}, which lacks {', '.join(sorted(own))}: a {protocol.__name__} has them all.",
    )


def _members(protocol: type) -> set[str]:
    return {name for name, member in vars(protocol).items() if not name.startswith("_") or name == "__call__"}
