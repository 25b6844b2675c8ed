"""Planted secrets, and where they are found: in what was printed and in every byte of a folder, also within containers."""

from __future__ import annotations

import base64
import gzip
import io
import json
import shlex
import sqlite3
import string
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.parse import quote, quote_plus

import pyarrow.parquet as pq


@dataclass(frozen=True)
class Planted:
    """Three secrets. Each part of letters and digits of one is unlike anything else, and stays itself in every spelling."""

    password: str
    token: str
    key: str
    """An object store's secret key."""

    @staticmethod
    def of(random: Random) -> Planted:
        """Secrets made up of a source of randomness."""

        def part() -> str:
            letters = "".join(random.choices(string.ascii_letters, k=6))
            return f"{letters}{random.randrange(10)}q"

        return Planted(f"{part()} '\"\\@%é{part()}", f"tok_{part()}{part()}", f"{part()}/{part()}+{part()}")

    @property
    def encoded(self) -> str:
        """The password as it belongs into an address."""
        return quote(self.password, safe="")

    @property
    def needles(self) -> list[str]:
        """Texts to search for: the parts and the spellings of all three."""
        found = [needle for each in (self.password, self.token, self.key) for needle in (*_parts(each), *spellings(each))]
        return list(dict.fromkeys(found))


def _parts(secret: str) -> list[str]:
    """The longest runs of letters and digits."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else " " for letter in secret)
    return [part for part in plain.split() if len(part) > 6]


def spellings(secret: str) -> list[str]:
    """The secret raw, percent-encoded, escaped for JSON, Python and a shell, and in base64 as a header holds it."""
    escaped = [json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1], ascii(secret)[1:-1]]
    held = [base64.b64encode(f"{user}{secret}".encode()).decode().rstrip("=") for user in ("", "me:")]
    return [secret, quote(secret, safe=""), quote(secret), quote_plus(secret), *escaped, shlex.quote(secret), *held]


def hits(planted: Planted, said: str, folder: Path) -> list[str]:
    """A line for each place in which a secret stands."""
    places = [("what was printed", said), *_texts_below(folder)]
    return [f"{place}: {needle!r}" for place, text in places for needle in planted.needles if needle in text]


def _texts_below(folder: Path) -> Iterator[tuple[str, str]]:
    for file in sorted(folder.rglob("*")):
        place = str(file.relative_to(folder))
        yield f"the name {place}", place
        if file.is_file():
            yield from _texts(place, file.read_bytes(), file)


def _texts(place: str, data: bytes, file: Path | None) -> Iterator[tuple[str, str]]:
    """The bytes as text, and what a container holds."""
    yield place, data.decode("utf-8", "replace")
    if data.startswith(b"PAR1"):
        table = pq.read_table(io.BytesIO(data))
        yield f"{place}, as a table", f"{table.schema.to_string(truncate_metadata=False)}\n{table.to_pylist()}"
    elif data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield f"a name in {place}", name
                yield from _texts(f"{place}, {name}", archive.read(name), None)
    elif data.startswith(b"\x1f\x8b"):
        yield from _texts(f"{place}, unpacked", gzip.decompress(data), None)
    elif data.startswith(b"SQLite format 3") and file is not None:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            yield f"{place}, as a database", "\n".join(database.iterdump())
