"""Files of a sweep in a folder and in an object store, under one contract; the store is a real S3 server on loopback."""

import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pytest

from orchestrator.artifacts.artifact_store import ArtifactStore
from orchestrator.artifacts.drawing import Artifact, Drawing, Drawn
from orchestrator.artifacts.selection import SelectedCell
from orchestrator.ledger.ledger import Ledger, StorageError, StorageWaitError
from orchestrator.storage.base import Storage, below
from orchestrator.storage.leases import Lease, Pace
from orchestrator.storage.local import LocalStorage
from orchestrator.storage.locks import FileLock
from orchestrator.storage.opening import open_storage
from orchestrator.testing import plane_point
from tests.orchestrator.ledger.test_ledger_faults import TIERS, batch, batches
from world_models.errors import UserError

moto_server = pytest.importorskip("moto.server", reason="the S3 server is not installed: pip install 'moto[s3]'")


@dataclass(frozen=True)
class Bucket:
    """An empty bucket of a server on loopback."""

    address: str
    name: str
    stop: Callable[[], None]

    def uri(self, path: str = "sweeps/run", bucket: str | None = None, **options: str) -> str:
        options = {"endpoint_override": self.address, "scheme": "http", "region": "us-east-1", **options}
        return f"s3://{bucket or self.name}/{path}?" + "&".join(f"{key}={value}" for key, value in options.items())

    @property
    def filesystem(self) -> pafs.S3FileSystem:
        return pafs.S3FileSystem(endpoint_override=self.address, scheme="http", region="us-east-1", allow_bucket_creation=True)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for key, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("orchestrator.storage.leases.Pace", lambda: Pace(beat=0.2, stale=3.0, settle=0.2))
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    running = [server]

    def stop() -> None:
        while running:
            running.pop().stop()

    made = Bucket(f"{host}:{port}", "results", stop)
    made.filesystem.create_dir("results")
    yield made
    stop()


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return open_storage(tmp_path / "deep" / "er")
    return open_storage(request.getfixturevalue("bucket").uri())


def test_files_are_written_replaced_listed_read_and_removed(storage: Storage) -> None:
    assert storage.names() == storage.names("point") == []
    for name in ("b.bin", "a.bin", ".hidden", "point/7.gif"):
        storage.write(name, name.encode())
    storage.write("a.bin", b"")
    storage.write("b.bin", b"x" * 100_000)
    assert storage.names("point") == ["7.gif"]
    assert storage.names() == ["a.bin", "b.bin", "point"]
    assert (storage.read("a.bin"), storage.read("b.bin")) == (b"", b"x" * 100_000)
    assert storage.child("point").read("7.gif") == b"point/7.gif"
    with storage.open("b.bin") as file:
        file.seek(99_990)
        assert file.read() == b"x" * 10
    for _ in range(2):
        storage.remove("a.bin")
    assert storage.names() == ["b.bin", "point"]
    for read in (storage.read, storage.open):
        with pytest.raises(FileNotFoundError):
            read("a.bin")


def test_artifacts_of_a_point_are_recognised(storage: Storage) -> None:
    artifact_store, point = ArtifactStore(storage), plane_point()
    assert artifact_store.manifest(point.point_id) is None
    selected = (SelectedCell(3, ("best",)), SelectedCell(9, ("worst", "first_failure")))
    files = tuple(Artifact(3, kind, f"3{kind}".encode()) for kind in ("gif", "png"))
    artifact_store.keep(Drawn(Drawing(point, selected, ()), files, ("seed 9: no",)))
    record = artifact_store.manifest(point.point_id)
    assert record is not None
    assert (record.selected, record.troubles) == (selected, ("seed 9: no",))
    assert [shown.files for shown in record.cells] == [("3.gif", "3.png"), ()]
    assert artifact_store.read(point.point_id, "3.gif") == b"3gif"
    with pytest.raises(UserError, match="was removed while it was read"):
        artifact_store.read(point.point_id, "9.gif")


def test_a_ledger_in_a_bucket_is_written_merged_read_and_has_one_writer(bucket: Bucket) -> None:
    uri = bucket.uri("sweeps/ledger")
    ledger, other = Ledger(uri, tiers=TIERS), Ledger(uri)
    assert ledger.table().num_rows == 0
    assert ledger.holder() is None
    with ledger.writer():
        for number in range(4):
            ledger.append(batch(number))
            assert batches(other) == set(range(number + 1))
        with (
            pytest.raises(UserError, match=rf"writes to s3://results/sweeps/ledger \(host .*, pid {os.getpid()}\)"),
            other.writer(),
        ):
            pass
    assert batches(Ledger(uri)) == {0, 1, 2, 3}
    assert len(open_storage(uri).names()) <= 2
    found = ds.dataset("results/sweeps/ledger", filesystem=bucket.filesystem, format="parquet")
    assert found.count_rows() == Ledger(uri).table().num_rows
    holder = other.holder()
    assert holder is not None
    assert not holder.alive
    with other.writer():
        other.append(batch(4))
    assert batches(Ledger(uri)) == {0, 1, 2, 3, 4}


def test_a_store_that_goes_away_can_be_waited_for_and_nothing_is_lost(bucket: Bucket) -> None:
    ledger = Ledger(bucket.uri("ledger"))
    with ledger.writer():
        ledger.append(batch(0))
        bucket.stop()
        with pytest.raises(StorageWaitError, match=r"check that its store can be reached\.$"):
            ledger.append(batch(1))
        again = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=int(bucket.address.split(":")[1]), verbose=False)
        again.start()
        try:
            ledger.append(batch(1))
            assert batches(Ledger(bucket.uri("ledger"))) == {0, 1}
        finally:
            again.stop()


def test_a_refusal_by_the_store_is_one_sentence(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = open_storage(bucket.uri(bucket="nowhere"))
    for act in (missing.names, missing.prepare, lambda: missing.write("x", b"")):
        with pytest.raises(StorageError, match="there is no bucket 'nowhere' at s3://nowhere/sweeps/run: create it"):
            act()
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0.0)
    with pytest.raises(StorageError, match="refuses the credentials: set AWS_ACCESS_KEY_ID and the like"):
        Ledger(bucket.uri()).table()
    bucket.stop()
    with pytest.raises(StorageWaitError, match="check that its store can be reached"):
        Ledger(bucket.uri()).table()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://key:secret@bucket/x", "given with credentials: leave them out and set AWS_ACCESS_KEY_ID"),
        ("hdfs://name/x", "hdfs://name/x is not a valid storage: give a folder, or a URI that begins with file://, s3://"),
        ("s3:///x", "names no bucket: give e.g. s3://bucket/folder"),
        ("file://me:secret@h/x", "'file://h/x' names a host, and file:// means this machine: give file:///FOLDER"),
    ],
)
def test_uris_that_are_not_storage_are_refused_without_their_secrets(uri: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as refused:
        open_storage(uri)
    assert "secret" not in str(refused.value)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(UserError, match="has the unknown option 'access_key': give one of region, scheme, endpoint_override"):
        open_storage("s3://bucket/x?access_key=secret").names()


def test_locations_below_a_location() -> None:
    assert below("s3://bucket/run/?region=x", "ledger") == "s3://bucket/run/ledger?region=x"
    assert below("runs", "ledger") == Path("runs/ledger")
    assert open_storage("file:///some%20where/run").where == "/some where/run"
    assert isinstance(open_storage(Path("x")).lock(), FileLock)
    assert isinstance(open_storage("s3://bucket/x").lock(), Lease)


def test_a_folder_that_may_only_be_read_is_read_and_refused_for_writing(tmp_path: Path) -> None:
    """On a read-only mount, since root may write to any folder."""
    with Ledger(tmp_path / "ledger").writer():
        pass
    ledger = Ledger(tmp_path / "ledger")
    with ledger.writer():
        ledger.append(batch(0))
    done = subprocess.run(["mount", "--bind", str(tmp_path), str(tmp_path)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("only root may mount the read-only file system that this test writes to")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(tmp_path)], check=True)
        assert batches(Ledger(tmp_path / "ledger")) == {0}
        assert Ledger(tmp_path / "ledger").holder() is not None
        for folder in ("ledger", "another"):
            with (
                pytest.raises(UserError, match=r"cannot write to the folder .* \(Read-only file system\)"),
                Ledger(tmp_path / folder).writer(),
            ):
                pass
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_folder_without_permission_is_refused_unless_root(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read and write everything")
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StorageError, match="choose one that you may write to"):
        LocalStorage(tmp_path).write("x", b"")


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.write("part.parquet", b"1")
    (tmp_path / ".part.parquet.tmp").write_bytes(b"half")
    (tmp_path / ".lock").write_text("", encoding="utf-8")
    storage.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "part.parquet"]
    storage.sweep("nowhere")
