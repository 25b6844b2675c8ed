"""The addresses that we make ourselves, and the files that they name; whatever a path has in it is quoted as it must be."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlunsplit


def sqlite_uri(file: Path) -> str:
    """The address of a database file, for SQLAlchemy and MLflow."""
    from sqlalchemy import URL

    address = URL.create("sqlite", database=str(file))
    # MLflow takes what follows sqlite:/// as it stands for a path, and makes that folder; it leaves a named driver alone.
    quoted = "%" in address.render_as_string()
    return (address.set(drivername="sqlite+pysqlite") if quoted else address).render_as_string()


def sqlite_file(uri: str) -> Path | None:
    """The database file of such an address; None for an address of another kind."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        address = make_url(uri)
    except (ArgumentError, ValueError):
        return None
    return Path(address.database) if address.get_backend_name() == "sqlite" and address.database else None


def http_uri(host: str, port: int, path: str = "") -> str:
    """The address of a server on this machine or in its network."""
    return urlunsplit(("http", f"{host}:{port}", path, "", ""))
