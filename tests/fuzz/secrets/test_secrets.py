"""Three planted secrets, given in the ways that need no planning and in two that do, are found nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.secrets.giving import leaks, repeating_server, swept
from tests.fuzz.secrets.search import Planted, hits, spellings
from tests.fuzz.secrets.ways import ways

PLANTED = Planted.of(Random(0))
QUICK = [name for name, way in ways(PLANTED).items() if not way.slow and not way.process]
PLANNED = ["library fails"]
MOST = 10
"""Quick ways of a test run; all are tried by hand."""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return swept(tmp_path_factory.mktemp("home") / "out")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with repeating_server() as address:
        yield address


@pytest.mark.parametrize("name", [*Random(1).sample(QUICK, MOST), *PLANNED])
def test_a_secret_is_found_nowhere(name: str, sweep: Path, server: str, tmp_path: Path) -> None:
    assert leaks(ways(PLANTED)[name], PLANTED, tmp_path / "way", sweep, server) == []


def test_the_search_finds_every_spelling_in_every_container(tmp_path: Path) -> None:
    import sqlite3
    import zipfile

    import pyarrow as pa
    import pyarrow.parquet as pq

    for secret in (PLANTED.password, PLANTED.token, PLANTED.key):
        for spelling in spellings(secret):
            assert hits(PLANTED, f"x{spelling}x", tmp_path)
    pq.write_table(pa.table({"error": [f"x{PLANTED.token}"] * 9}), tmp_path / "part.parquet", compression="zstd")
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", f"{'a' * 999}{PLANTED.key}")
        archive.write(tmp_path / "part.parquet", "part.parquet")
    with sqlite3.connect(tmp_path / "x.db") as database:
        database.execute("create table x (y text)")
        database.execute("insert into x values (?)", ("a" * 4080 + PLANTED.token,))
    database.close()
    found = "\n".join(hits(PLANTED, "", tmp_path))
    for place in ("part.parquet, as a table", "x.zip, a.txt", "x.zip, part.parquet, as a table", "x.db, as a database"):
        assert place in found
