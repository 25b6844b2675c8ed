"""The tracking store: a file in the output folder, an MLflow server or a database, with checks of its address.

Nothing here imports MLflow, which takes seconds, so a wrong address is refused before anything is planned.
"""

from __future__ import annotations

import json
import os
import sqlite3
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

from orchestrator.core.cell import digest
from orchestrator.core.messages import mask_token, mask_uri
from orchestrator.core.secrets import Secrets, one_line
from orchestrator.storage.uris import sqlite_file
from world_models.errors import UnknownNameError, UserError, require

SCHEMES = ("http", "https", "postgresql", "sqlite")
"""Schemes that a tracking URI may have."""

CHECK_TIMEOUT = 10
"""Timeout of a check in seconds."""

_STAGE = "SELECT lifecycle_stage FROM experiments WHERE name ="
"""A query for an experiment's stage in MLflow's database; its name follows."""

WITHOUT_TRACKING = "plan without tracking with tracking.enabled=false"

_DATABASE_OPTIONS = {
    # With these, a dead connection or a stuck database is noticed within half a minute.
    "connect_timeout": str(CHECK_TIMEOUT),
    "tcp_user_timeout": "20000",
    "options": "-c statement_timeout=30000",
}


@dataclass(frozen=True)
class TrackingStore:
    """A store and an experiment in it. Credentials come from the URI or from MLFLOW_TRACKING_USERNAME, _PASSWORD and _TOKEN."""

    uri: str = field(repr=False)
    """May hold a password: show `masked_uri` instead."""
    artifact_root: Path
    """Folder of artifacts, except for a server, which keeps its own."""
    experiment: str = "grasp"

    def __post_init__(self) -> None:
        uri = str(self.uri).strip()
        like = uri.rpartition("@")[2] if ":" in uri or "." in uri else "HOST:PORT"
        require("://" in uri, f"tracking.uri {like!r} has no scheme: give e.g. http://{like}, or null for the output folder.")
        parts = _split(uri)
        scheme = parts.scheme.partition("+")[0]
        if scheme not in SCHEMES:
            raise UnknownNameError("scheme of tracking.uri", scheme, SCHEMES)
        require(
            scheme == "sqlite" or bool(parts.hostname),
            f"tracking.uri {mask_uri(uri)!r} names no host: give e.g. {scheme}://HOST:PORT.",
        )
        require(bool(self.experiment.strip()), "tracking.experiment is empty: give a name, e.g. tracking.experiment=grasp.")
        named = mask_token(self.experiment)
        fault = f"tracking.experiment {named!r} was given with credentials: give a name, and the address as tracking.uri."
        require(named == self.experiment, fault)
        object.__setattr__(self, "uri", uri.rstrip("/") if scheme.startswith("http") else uri)

    @property
    def masked_uri(self) -> str:
        """The URI without user, password and query."""
        return mask_uri(self.uri)

    @property
    def kind(self) -> str:
        """`http`, `postgresql` or `sqlite`."""
        return {"https": "http"}.get(scheme := urlsplit(self.uri).scheme.partition("+")[0], scheme)

    @property
    def is_colocated(self) -> bool:
        """Whether it is a database file next to its artifacts, so that both may be moved together."""
        return self.sqlite_file is not None and self.sqlite_file.parent == self.artifact_root.parent

    @property
    def key(self) -> str:
        """A short name of the store, independent of credentials; records for it wait in a folder of that name."""
        return digest([None if self.is_colocated else self.masked_uri, self.experiment], length=8)

    @property
    def sqlite_file(self) -> Path | None:
        """The database file; None for other stores."""
        return sqlite_file(self.uri)

    @property
    def mlflow_uri(self) -> str:
        """The URI for MLflow; that of a database names its driver and timeouts."""
        if self.kind != "postgresql":
            return self.uri
        parts = urlsplit(self.uri)
        query = urlencode(_DATABASE_OPTIONS | dict(parse_qsl(parts.query)), quote_via=quote)
        return urlunsplit(("postgresql+psycopg", parts.netloc, parts.path, query, ""))

    def scrub(self, text: str) -> str:
        """The text without this store's credentials."""
        for uri in (self.uri, self.mlflow_uri):
            text = text.replace(uri, self.masked_uri)
        return Secrets.of((self.uri, self.mlflow_uri), os.environ).scrub(text)

    def check(self) -> str | None:
        """Ask whether the store would take records: None if so, or a clause that says why it cannot be reached now.

        Raises UserError for what waiting does not fix: refused credentials, no MLflow at the address, a deleted experiment.
        """
        return {"http": self._check_server, "postgresql": self._check_database, "sqlite": self._check_file}[self.kind]()

    def refusal(self, reason: str) -> UserError:
        """The error for a store that will not take anything."""
        return UserError(f"MLflow at {self.masked_uri} {reason}; or {WITHOUT_TRACKING}.")

    def _unreachable(self, reason: str) -> str:
        return f"MLflow at {self.masked_uri} cannot be reached ({self.scrub(reason)[:200]})"

    def _check_server(self) -> str | None:
        import requests

        if any(os.environ.get(name) for name in ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4")):
            return None  # MLflow's own plugins sign the requests, so errors show only when they are made
        address = f"{self.uri}/api/2.0/mlflow/experiments/get-by-name"
        options = {"params": {"experiment_name": self.experiment}, "timeout": CHECK_TIMEOUT, "headers": _headers()}
        try:
            answer = requests.get(address, verify=_certificates(), **options)
        except requests.exceptions.SSLError as error:
            raise self.refusal(f"has a certificate that is not trusted ({self.scrub(one_line(error))[:200]})") from None
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            raise self.refusal(f"is not a valid address ({self.scrub(one_line(error))[:200]}): fix tracking.uri") from None
        except requests.exceptions.RequestException as error:
            return self._unreachable(one_line(_deepest(error)))
        if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
            return self._unreachable(f"HTTP {answer.status_code} {answer.reason}")
        answer.encoding = "utf-8"  # by default a text without a charset is taken for Latin-1
        return self._judge(answer.status_code, answer.text, answer.headers.get("Content-Type", ""))

    def _judge(self, status: int, text: str, kind: str) -> None:
        """Raise UserError unless the answer is that of an MLflow server that would take records."""
        if status in (401, 403):
            reason = " ".join(text.split())[:120] if "html" not in kind else "no reason given"
            raise self.refusal(
                f"refuses the credentials (HTTP {status}: {self.scrub(reason)}): "
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            )
        values = _json_object(text)
        if status == 200 and isinstance(found := values.get("experiment"), Mapping):
            self._refuse_deleted((found.get("lifecycle_stage"),))
        elif values.get("error_code") != "RESOURCE_DOES_NOT_EXIST":
            raise self.refusal(f"is not an MLflow server (it answers HTTP {status}): fix tracking.uri")

    def _check_database(self) -> str | None:
        try:
            import psycopg
        except ImportError:
            raise self.refusal("needs psycopg: pip install 'grasp-orchestrator[postgres]'") from None
        plain = self.mlflow_uri.replace("postgresql+psycopg:", "postgresql:", 1)
        try:
            with psycopg.connect(plain, connect_timeout=CHECK_TIMEOUT) as database:
                found = database.execute(f"{_STAGE} %s", (self.experiment,)).fetchone()
        except psycopg.errors.UndefinedTable:
            return None  # MLflow makes its tables when it is first used
        except psycopg.ProgrammingError as error:
            raise self.refusal(f"is not a valid address ({self.scrub(one_line(error))[:200]}): fix tracking.uri") from None
        except psycopg.OperationalError as error:
            reason = one_line(error)
            if _is_final(reason):
                raise self.refusal(f"refuses the connection ({self.scrub(reason)[:200]}): fix tracking.uri") from None
            return self._unreachable(reason)
        self._refuse_deleted(found)
        return None

    def _check_file(self) -> str | None:
        file = self.sqlite_file
        if file is None:
            raise self.refusal("names no file: give sqlite:///PATH")
        try:
            with file.open("rb") as stream:
                head = stream.read(16)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.refusal(f"cannot be opened ({error.strerror}): fix that or tracking.uri") from None
        if head and head != b"SQLite format 3\0":
            raise self.refusal("is not an SQLite database: fix tracking.uri")
        # Another process may be writing, or the tables not be made yet: then the first record finds out.
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            self._refuse_deleted(database.execute(f"{_STAGE} ?", (self.experiment,)).fetchone())
        return None

    def _refuse_deleted(self, stage: Sequence[object] | None) -> None:
        """Raise UserError if the experiment's stage, from the store, is that of a deleted one."""
        if stage is not None and stage[0] == "deleted":
            raise self.refusal(f"has deleted experiment {self.experiment!r}: restore it or set tracking.experiment")


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:  # its message may quote a part of the password
        raise UserError(
            f"tracking.uri {mask_token(uri)!r} cannot be read: give http://HOST:PORT; a password needs %2F %3A %40 for / : @."
        ) from None
    return parts


def _is_final(reason: str) -> bool:
    """Whether waiting does not fix PostgreSQL's refusal (libpq gives no code for a refused connection)."""
    transient = ("starting up", "shutting down", "too many", "recovery", "remaining connection slots")
    return ("FATAL" in reason or "no password" in reason) and not any(words in reason for words in transient)


def _headers() -> dict[str, str]:
    """Headers with the environment's credentials, as MLflow would send them; credentials in the URI take precedence."""
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _certificates() -> bool | str:
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("1", "true"):
        return False
    return os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True


def _json_object(text: str) -> Mapping[str, object]:
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _deepest(error: BaseException) -> BaseException:
    """The innermost error: `Connection refused` says more than the three layers of pools around it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error
