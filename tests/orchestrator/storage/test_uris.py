"""Addresses of files: whatever a path has in it, the address names that file and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from orchestrator.storage.uris import http_uri, sqlite_file, sqlite_uri
from orchestrator.tracking.local_store.opening import opened
from sweeps.config.compose import compose
from sweeps.config.outputs import Outputs
from sweeps.config.schema.configs import SweepConfig

NAMES = ("plain", "a b", "a%20b", "100%", "a#b", "a?b=c&d", "me@host", "a;b", "it's", 'a"b', "a:b", "a+b", "数据", "[x]{y}")


@pytest.mark.parametrize("name", NAMES)
def test_a_database_is_where_its_address_says(name: str, tmp_path: Path) -> None:
    file = tmp_path / name / "x.db"
    file.parent.mkdir()
    uri = sqlite_uri(file)
    assert sqlite_file(uri) == file
    engine = create_engine(uri)
    with engine.begin() as connection:
        connection.execute(text("create table t (x int)"))
    engine.dispose()
    assert file.stat().st_size
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_other_addresses_name_no_file() -> None:
    assert sqlite_file(http_uri("127.0.0.1", 5000, "/health")) is None
    assert sqlite_file("postgresql://me@db/x") is None
    assert http_uri("127.0.0.1", 5000, "/health") == "http://127.0.0.1:5000/health"


def test_mlflow_keeps_to_a_folder_with_an_odd_name(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path / "a b%20#?c;@'数据")
    with opened(outputs.database) as store:
        assert store.get_experiment("0").artifact_location.startswith("file:///")
    assert sqlite_file(outputs.tracking_uri) == outputs.database
    assert [one.name for one in tmp_path.iterdir()] == [outputs.root.name]


@pytest.mark.parametrize("name", NAMES)
def test_configs_are_found_in_a_folder_with_an_odd_name(name: str, tmp_path: Path) -> None:
    file = tmp_path / name / "sweep" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\nname: mine\nhorizons: [7]\n", encoding="utf-8")
    assert compose(SweepConfig, ["sweep=mine"], tmp_path / name).values["horizons"] == [7]
