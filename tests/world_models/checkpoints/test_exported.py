"""Models in archives: the same numbers as the module's in any type; only computing is loaded; the digest is of content."""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support.plugins import OWN_MODELS
from world_models.base import PixelObservation
from world_models.checkpoints.exported.program import _DTYPES
from world_models.checkpoints.store import load, read_card
from world_models.errors import UserError
from world_models.testing import ModelCase, check_world_model, vectors


class Rich(nn.Module):
    """Layers whose graphs have lists, several results, made tensors and unused values."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Sequential(nn.Linear(12, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4))
        self.conv = nn.Conv1d(2, 3, 2)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 0.5, 1.5]))

    scale: Tensor

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        older, newer = states.unbind(1)
        pushed = self.conv(actions.transpose(1, 2)).amax(2)
        ramp = torch.arange(4, device=states.device).to(states.dtype) / 10
        ones = torch.ones(states.shape[0], 1, device=states.device, dtype=states.dtype)
        parts = torch.split(torch.cat([older, newer, pushed, ones], 1), 6, 1)
        return (
            newer + self.scale * torch.tanh(self.mix(torch.cat(parts, 1))) + 0.01 * ramp + 0.01 * actions.sum((1, 2))[:, None]
        )


class Pair(nn.Module):
    """TorchScript with methods of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((4,), 0.5))

    @torch.jit.export
    def encode(self, observation: Tensor) -> Tensor:
        return observation * self.weight

    @torch.jit.export
    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        return states[:, -1] + torch.cat([actions[:, -1], self.weight[:2] * actions[:, -1]], 1)

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        return self.step(states, actions)


def exported(folder: Path, module: nn.Module, *inputs: Tensor, signature: str, name: str = "model.pt2") -> Path:
    rows = torch.export.Dim("rows")
    program = torch.export.export(module.eval(), inputs, dynamic_shapes=tuple({0: rows} for _ in inputs))
    torch.export.save(program, folder / name)
    (folder / name).with_suffix(".yaml").write_text(signature, encoding="utf-8")
    return folder / name


def scripted(folder: Path, module: nn.Module, signature: str = "state: [4]\naction: 2\n") -> Path:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        torch.jit.script(module).save(str(folder / "model.pt"))
    (folder / "model.yaml").write_text(signature, encoding="utf-8")
    return folder / "model.pt"


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    inputs = torch.zeros(3, 2, 4), torch.zeros(3, 2, 2)
    return exported(tmp_path_factory.mktemp("rich"), Rich(), *inputs, signature="state: [4]\naction: 2\nhistory: 2\n")


def test_a_graph_computes_what_its_module_does_in_both_types(rich: Path) -> None:
    module = Rich().eval()
    for dtype in (torch.float32, torch.float64):
        model, own = load(str(rich), dtype=dtype).model, module.to(dtype)
        states, actions = torch.randn(5, 2, 4, dtype=dtype), torch.randn(5, 2, 2, dtype=dtype)
        with torch.no_grad():
            torch.testing.assert_close(model.step(states, actions), own(states, actions), rtol=1e-6, atol=1e-6)
    check_world_model(ModelCase(lambda dtype: load(str(rich), dtype=dtype).model, vectors(4)))


def test_torch_reads_the_same_program(rich: Path) -> None:
    """Our reader and torch's agree on archives that both read."""
    theirs = torch.export.load(rich).module()
    states, actions = torch.randn(7, 2, 4), torch.randn(7, 2, 2)
    torch.testing.assert_close(load(str(rich)).model.step(states, actions), theirs(states, actions))


def test_numbers_of_dtypes_are_those_of_torch() -> None:
    from torch._export.serde.schema import ScalarType

    names = {"byte": "uint8", "char": "int8", "short": "int16", "int": "int32", "long": "int64", "half": "float16"}
    names |= {"float": "float32", "double": "float64", "bool": "bool", "bfloat16": "bfloat16"}
    assert {names[ScalarType(number).name.lower()]: dtype for number, dtype in _DTYPES.items()} == {
        str(dtype).removeprefix("torch."): dtype for dtype in _DTYPES.values()
    }


def test_torchscript_may_have_methods_of_its_own(tmp_path: Path) -> None:
    loaded = load(str(scripted(tmp_path, Pair())))
    seen = torch.randn(3, 4)
    assert torch.equal(loaded.model.encode(seen), seen * 0.5)
    assert loaded.decode is None, "states are no observations"
    following = loaded.model.step(seen.unsqueeze(1), torch.ones(3, 1, 2))
    torch.testing.assert_close(following, seen + torch.tensor([1.0, 1.0, 0.5, 0.5]))


def test_an_encoder_of_pictures_is_an_archive_beside_it(tmp_path: Path) -> None:
    class Mean(nn.Module):
        def forward(self, pixels: Tensor, proprioception: Tensor) -> Tensor:
            return torch.cat([pixels.to(proprioception.dtype).mean((1, 2)) / 255, proprioception], 1)

    class Step(nn.Module):
        def forward(self, states: Tensor, actions: Tensor) -> Tensor:
            return states[:, -1] + torch.cat([actions[:, -1], actions[:, -1]], 1)

    pixels = torch.zeros(3, 8, 8, 3, dtype=torch.uint8)
    exported(tmp_path, Mean(), pixels, torch.zeros(3, 1), signature="", name="encoder.pt2")
    signature = "state: [4]\naction: 2\nencoder: encoder.pt2\npixels: 8\nproprioception: 1\n"
    loaded = load(str(exported(tmp_path, Step(), torch.zeros(3, 1, 4), torch.zeros(3, 1, 2), signature=signature)))
    found = loaded.model.encode(PixelObservation(pixels + 51, torch.ones(3, 1)))
    torch.testing.assert_close(found, torch.tensor([[0.2, 0.2, 0.2, 1.0]]).expand(3, 4))
    assert loaded.sensors.size == 8


def test_the_digest_is_of_content(tmp_path: Path) -> None:
    path = scripted(tmp_path, Pair())
    first = read_card(str(path))[1]
    shutil.copytree(tmp_path, tmp_path / "copy")
    assert read_card(str(tmp_path / "copy" / "model.pt"))[1] == first
    path.with_suffix(".yaml").write_text("state: 4\naction: 2\nhistory: 1\n# a remark\n", encoding="utf-8")
    assert read_card(str(path))[1] == first
    other = Pair()
    other.weight.data += 1e-6
    assert read_card(str(scripted(tmp_path, other)))[1] != first


class Writer(nn.Module):
    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        torch.save(states, "written")
        return states[:, -1] + torch.cat([actions[:, -1], actions[:, -1]], 1)


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.ones(1)

    @torch.jit.export
    def __getstate__(self) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.weight

    @torch.jit.export
    def __setstate__(self, state: Tensor) -> None:  # runs when it is loaded
        self.weight = torch.from_file("written", shared=True, size=4)
        self.training = False

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        return states[:, -1] * self.weight


@pytest.mark.parametrize(("module", "said"), [(Writer(), "calls save in"), (Reader(), "calls from_file in")])
def test_torchscript_that_touches_files_is_refused(
    module: nn.Module, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        load(str(scripted(tmp_path, module)))
    assert not (tmp_path / "written").exists()


def spoilt(path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """The archive with members changed, or left out where `change` gives None."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive, zipfile.ZipFile(path, "w") as made:
        for name in archive.namelist():
            if (content := change(name, archive.read(name))) is not None:
                made.writestr(name, content)


def edited_graph(edit: Callable[[dict], None]) -> Callable[[str, bytes], bytes]:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        graph = json.loads(content)
        edit(graph)
        return json.dumps(graph).encode()

    return change


class Touch:
    """Unpickled, it makes a file."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("touched"),)


def call(target: str) -> Callable[[str, bytes], bytes]:
    return edited_graph(lambda graph: graph["graph_module"]["graph"]["nodes"][0].update(target=target))


def pickled_weights(name: str, content: bytes) -> bytes:
    if name.endswith("weights_config.json"):
        return content.replace(b'"use_pickle": false', b'"use_pickle": true')
    return pickle.dumps(Touch()) if "/data/weights/" in name else content


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (call("torch.serialization.os.getcwd"), "calls 'torch.serialization.os.getcwd'"),
        (call("torch.ops.aten.from_file.default"), "calls 'torch.ops.aten.from_file.default'"),
        (call("torch.ops.aten.absent.default"), "calls 'torch.ops.aten.absent.default'"),
        (call("torch.ops.aten.add.__globals__"), "calls 'torch.ops.aten.add.__globals__'"),
        (call("_operator.attrgetter"), "calls '_operator.attrgetter'"),
        (pickled_weights, "as a pickled object"),
        (edited_graph(lambda graph: graph["schema_version"].update(major=99)), "has format 99"),
        (edited_graph(lambda graph: graph["graph_module"].pop("graph")), "not a program of torch.export as known here"),
        (lambda name, content: None if "/data/weights/weight_0" in name else content, "not a program of torch.export"),
        (lambda name, content: content[:3] if name.endswith("weight_1") else content, "not a program of torch.export"),
        (lambda name, content: None if "/models/" in name else content, "holds pickled objects"),
    ],
)
def test_graphs_that_do_more_than_compute_are_refused(
    change: Callable, said: str, rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in (rich, rich.with_suffix(".yaml")):
        shutil.copy(file, tmp_path)
    spoilt(tmp_path / "model.pt2", change)
    with pytest.raises(UserError, match=said):
        load("model.pt2")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        (None, r"model.pt needs its signature in model.yaml beside it"),
        ("- 4", "is not a signature"),
        ("state: [4]", "lacks action"),
        ("state: [4]\naction: 0", "action 0 in .* is not a size"),
        ("state: [true]\naction: 2", "state True in .* is not a size"),
        ("state: [4]\naction: 2\nhistori: 3", "did you mean 'history'"),
        ("state: [4]\naction: 2\nencoder: ../other.pt", "leads out of the folder"),
        ("state: [4]\naction: 2\nencoder: other.pt", "other.pt cannot be read"),
        ("state: [5]\naction: 2", "cannot step from states|gives states"),
    ],
)
def test_senseless_signatures_are_one_sentence(signature: str | None, said: str, tmp_path: Path) -> None:
    path = scripted(tmp_path, Pair(), signature or "")
    if signature is None:
        path.with_suffix(".yaml").unlink()
    with pytest.raises(UserError, match=said):
        load(str(path))


def test_other_archives_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "model.pt")
    (tmp_path / "model.yaml").write_text("state: 4\naction: 2\n", encoding="utf-8")
    with pytest.raises(UserError, match="holds pickled objects, not a program"):
        load(str(tmp_path / "model.pt"))
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(UserError, match="is not an archive"):
        load(str(tmp_path / "model.pt"))


def test_the_examples_archives_are_one_model(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("own_export", OWN_MODELS / "export.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    states, actions = torch.randn(6, 1, 4), torch.randn(6, 1, 2)
    one, other = (load(str(tmp_path / name)).model.step(states, actions) for name in ("exported.pt2", "script.pt"))
    torch.testing.assert_close(one, other)
