"""An epoch over an object store: the same batches as from a disk while connections are cut, and a sentence where all are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pytest

from tests.support.cut_relay import CutRelay
from world_models.datasets import Windows, batches, open_dataset, places
from world_models.datasets.arrow_writing import write_arrow
from world_models.datasets.base import DatasetError
from world_models.errors import UserError

moto_server = pytest.importorskip("moto.server", reason="the S3 server is not installed: pip install 'moto[s3]'")

LENGTHS = [40, 25, 33]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, CutRelay]]:
    """A dataset on the disk, and a relay to a server that holds the same as `s3://data/made`."""
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "made-up")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    rng = np.random.default_rng(0)
    episodes = [{"observation": rng.normal(size=(rows, 64)), "action": rng.normal(size=(rows, 2))} for rows in LENGTHS]
    write_arrow(tmp_path / "made", episodes)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    remote = pafs.S3FileSystem(
        endpoint_override=f"{host}:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
    )
    remote.create_dir("data")
    pafs.copy_files(str(tmp_path / "made"), "data/made", destination_filesystem=remote)
    with CutRelay((host, port)) as relay:
        yield tmp_path / "made", relay
    server.stop()


def uri(relay: CutRelay) -> str:
    return f"s3://data/made?endpoint_override={relay.address}&scheme=http&region=us-east-1"


def epoch(path: str | Path, names: list[str]) -> list[dict[str, np.ndarray]]:
    data = open_dataset(path)
    windows = Windows(data.lengths, rows=16, seed=3)
    return list(batches(data, windows, size=8, columns=names, end=windows.count // 8))


def test_an_epoch_survives_connections_that_are_cut(store: tuple[Path, CutRelay]) -> None:
    folder, relay = store
    expected = epoch(folder, ["observation", "action"])
    relay.every = 4
    found = epoch(uri(relay), ["observation", "action"])
    assert relay.cuts >= 3
    assert len(found) == len(expected) > 4
    for one, other in zip(found, expected, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in other)


def test_a_store_that_never_answers_whole_is_named_in_a_sentence(store: tuple[Path, CutRelay]) -> None:
    _, relay = store
    relay.every = 1
    with pytest.raises((DatasetError, UserError)) as caught:
        open_dataset(uri(relay))
    assert "s3://data/made" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_keys_and_paths_are_decoded_as_arrow_decodes_them() -> None:
    address = "s3://KEY:se%2Fcr%2Bet@data/two%20words?region=us-east-1&endpoint_override=127.0.0.1:9"
    found, path = places._opened(address)
    options = {"region": "us-east-1", "endpoint_override": "127.0.0.1:9"}
    patience = {"connect_timeout": places.S3_SECONDS, "request_timeout": places.S3_SECONDS}
    assert found.equals(pafs.S3FileSystem(access_key="KEY", secret_key="se/cr+et", **options, **patience))
    assert path == pafs.FileSystem.from_uri(address)[1] == "data/two words"
