"""The restricted unpickler: it reads whole-module files exactly, and runs nothing of hostile ones."""

from __future__ import annotations

import collections
import pickle
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.world_models.adapters import hostile
from world_models.adapters.pickles.unpickle import OPTIMISERS, ClassNames, ModuleRecord, read_modules, read_object
from world_models.errors import UserError

NAMES = ClassNames(("models.vit.*", *OPTIMISERS))
KNOWN = ClassNames(())


@pytest.fixture
def vit(monkeypatch: pytest.MonkeyPatch) -> type[nn.Module]:
    """A class that pickles as `models.vit.Block`."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 4), nn.GELU())
            self.heads = 3
            self.scale = 0.5
            self.pos = nn.Parameter(torch.randn(1, 4, 6))
            self.register_buffer("kept", torch.arange(5))
            self.register_buffer("hidden", torch.ones(2), persistent=False)
            self.mask = torch.ones(2, 3)

    module = types.ModuleType("models.vit")
    Block.__module__, Block.__qualname__ = "models.vit", "Block"
    module.Block = Block  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "models", types.ModuleType("models"))
    monkeypatch.setitem(sys.modules, "models.vit", module)
    return Block


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_whole_module_gives_the_state_dict_that_torch_gives(vit: type[nn.Module], tmp_path: Path, protocol: int) -> None:
    torch.manual_seed(0)
    block = vit()
    optimiser = torch.optim.AdamW(block.parameters())
    block.net(torch.randn(2, 6)).sum().backward()
    optimiser.step()
    torch.save({"predictor": block, "opt": optimiser, "epoch": 7}, tmp_path / "m.pth", pickle_protocol=protocol)
    found = read_modules(tmp_path / "m.pth", NAMES)
    record = found["predictor"]
    assert isinstance(record, ModuleRecord)
    assert record.type_name == "models.vit.Block"
    assert found["epoch"] == 7
    state = record.state_dict()
    expected = block.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert record.values["heads"] == 3
    assert record.values["scale"] == 0.5
    assert torch.equal(record.values["mask"], torch.ones(2, 3))  # pyright: ignore[reportArgumentType]


def test_tensors_of_every_kind_come_back_as_torch_reads_them(tmp_path: Path) -> None:
    base = torch.arange(24, dtype=torch.float32)
    value = collections.OrderedDict(
        whole=base,
        shared=base[3:9].reshape(2, 3),
        transposed=base.reshape(4, 6).T,
        half=base.half(),
        brain=base.bfloat16(),
        long=base.long(),
        flags=base > 3,
        scalar=torch.tensor(2.5),
        empty=torch.empty(0, 3),
        double=base.double(),
        parameter=nn.Parameter(base[:2]),
    )
    torch.save(value, tmp_path / "t.pth")
    found = read_modules(tmp_path / "t.pth", KNOWN)
    again = torch.load(tmp_path / "t.pth", weights_only=True)
    assert list(found) == list(again)
    for name, tensor in again.items():
        mine = found[name]
        assert isinstance(mine, torch.Tensor)
        assert mine.dtype == tensor.dtype
        assert mine.stride() == tensor.stride()
        assert torch.equal(mine, tensor)


def test_plain_values_and_numpy_are_read_as_values_or_records(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, "x", None, True], "b": {"c": (1, 2)}, 3: {4, 5}, "n": np.float64(1.5), "d": torch.device("cpu")}
    path = tmp_path / "plain.pkl"
    path.write_bytes(pickle.dumps(value))
    found = read_modules(path, KNOWN)
    assert found["a"] == value["a"]
    assert found["b"] == value["b"]
    assert isinstance(found["n"], ModuleRecord)
    assert found["n"].type_name.endswith("multiarray.scalar")


def _hostile(folder: Path, canary: Path) -> dict[str, Path]:
    torch.save({"w": torch.randn(100)}, folder / "good.pth")
    (folder / "empty.pth").touch()
    (folder / "noise.pth").write_bytes(bytes(range(256)) * 4)
    (folder / "zip.pth").write_bytes(b"PK\x03\x04" + bytes(100))
    return {
        r"posix\.system": hostile.system_call(folder, canary),
        r"builtins\.eval": hostile.evaluated(folder, canary),
        "empty": folder / "empty.pth",
        "truncated or not a pickle": folder / "noise.pth",
        "damaged": folder / "zip.pth",
        "zip file": hostile.truncated(folder / "good.pth", 0.6),
        "elements and has 16 bytes": hostile.lying_tensor(folder, "count.pth", 2**30, (4,), (1,)),
        "8 elements in a storage of 4": hostile.lying_tensor(folder, "shape.pth", 4, (8,), (1,)),
        "2 elements in a storage of 4": hostile.lying_tensor(folder, "stride.pth", 4, (2,), (100,)),
        "1073741824 elements": hostile.lying_tensor(folder, "expand.pth", 4, (2**30,), (0,)),
        "4 elements in a storage of 4": hostile.lying_tensor(folder, "offset.pth", 4, (4,), (1,), 2),
        "compressed": hostile.compressed(folder),
        "list, not a mapping": hostile.nested(folder),
        "key of type tuple": hostile.nested_key(folder),
    }


def test_hostile_files_are_refused_in_one_sentence_and_run_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for expected, path in _hostile(tmp_path, canary).items():
        with pytest.raises(UserError, match=expected) as refused:
            read_modules(path, NAMES)
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 400
        assert str(path) in str(refused.value)
    assert not canary.exists()


def test_the_canary_is_written_under_pickle(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = hostile.plain_system_call(tmp_path, canary, 2)
    pickle.loads(path.read_bytes())
    assert canary.exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_system_calls_of_every_protocol_are_refused_by_name(tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(UserError, match=re.escape("posix.system")):
        read_object(hostile.plain_system_call(tmp_path, canary, protocol), NAMES)
    assert not canary.exists()


def test_an_unknown_class_is_refused_by_its_name(vit: type[nn.Module], tmp_path: Path) -> None:
    torch.save({"predictor": vit()}, tmp_path / "m.pth")
    with pytest.raises(UserError, match=re.escape("names models.vit.Block, which no known checkpoint contains")):
        read_modules(tmp_path / "m.pth", KNOWN)


def test_an_allowed_class_is_never_called(tmp_path: Path) -> None:
    """Even a name on the list stays a name: what a file says to call is recorded, not run."""
    canary = tmp_path / "canary"
    found = read_object(hostile.plain_system_call(tmp_path, canary, 4), ClassNames(("posix.*",)))
    assert isinstance(found, dict)
    record = found["model"]
    assert isinstance(record, ModuleRecord)
    assert record.type_name == "posix.system"
    assert record.arguments == (f"touch {canary}",)
    assert not canary.exists()


def test_a_module_inside_itself_is_refused(tmp_path: Path) -> None:
    record = read_modules(hostile.own_child(tmp_path), KNOWN)["predictor"]
    assert isinstance(record, ModuleRecord)
    with pytest.raises(UserError, match="contains itself"):
        record.state_dict()


def _sentence(path: Path) -> str:
    try:
        read_object(path, NAMES)
    except UserError as error:
        return str(error)
    return ""


def test_any_cut_or_flipped_byte_gives_a_sentence_or_a_value(tmp_path: Path) -> None:
    """Damage of any kind raises UserError and nothing else."""
    torch.save({"w": torch.randn(3, 4), "m": nn.Linear(2, 2), "n": [1, (2, "x")]}, tmp_path / "good.pth")
    good = (tmp_path / "good.pth").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.pth"
    for trial in range(300):
        content = bytearray(good[: rng.integers(1, len(good))] if trial % 3 == 0 else good)
        for position in rng.integers(0, len(content), 1 + trial % 4):
            content[position] = rng.integers(0, 256)
        path.write_bytes(content)
        assert "\n" not in _sentence(path)
    plain = pickle.dumps({"w": [1, 2, {"x": (1.5, None)}], "o": collections.OrderedDict(a=1)}, 2)
    for trial in range(600):
        content = bytearray(plain)
        for position in rng.integers(0, len(content), 1 + trial % 3):
            content[position] = rng.integers(0, 256)
        path.write_bytes(content)
        assert "\n" not in _sentence(path)
