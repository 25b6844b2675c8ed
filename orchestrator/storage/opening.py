"""Opening the storage that a folder or a URI names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator.core.messages import mask_uri
from orchestrator.storage.base import Storage
from orchestrator.storage.local import LocalStorage
from world_models.errors import require


def open_storage(where: Path | str) -> Storage:
    """The storage of a folder, a `file://` URI or an object store's URI; nothing is touched yet.

    Raises UserError for a URI of another kind, or one that holds credentials.
    """
    if isinstance(where, Path) or "://" not in where:
        return LocalStorage(Path(where))
    parts = urlsplit(where)
    if parts.scheme == "file":
        hint = f"{mask_uri(where)!r} names a host, and file:// means this machine: give file:///FOLDER, with three slashes."
        require(parts.netloc in ("", "localhost"), hint)
        return LocalStorage(Path(unquote(parts.path)))
    from orchestrator.storage.object_store import ObjectStorage

    return ObjectStorage.of_uri(where)
