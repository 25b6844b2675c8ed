"""The Ray backend: settings that make no sense and clusters that do not answer are refused in one sentence."""

import socket

import pytest

from orchestrator.workers.ray_backend import RayBackend, RayConfig
from world_models.errors import UserError


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UserError, match="num_workers 0"):
        RayConfig(num_workers=0)
    with pytest.raises(UserError, match="max_workers 0"):
        RayConfig(max_workers=0)
    with pytest.raises(UserError, match="cpus_per_worker 0"):
        RayConfig(cpus_per_worker=0.0)
    with pytest.raises(UserError, match="gpus_per_worker -1"):
        RayConfig(gpus_per_worker=-1.0)
    with pytest.raises(UserError, match=r"gpus_per_worker 0\.3 is neither a whole number nor 1/k: give 1/3 = 0\.3333"):
        RayConfig(gpus_per_worker=0.3)
    with pytest.raises(UserError, match="memory_per_worker 'lots' is not a valid amount of memory"):
        RayConfig(memory_per_worker="lots")


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "not-an-address", "ray://user:secret@127.0.0.1:{port}"])
def test_an_unreachable_cluster_is_one_sentence_without_secrets(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.format(port=free.getsockname()[1])
        monkeypatch.setattr("ray.is_initialized", lambda: False)
        with pytest.raises(UserError, match="no Ray cluster answers at") as caught:
            RayBackend(RayConfig(address=address)).start()
    assert "secret" not in str(caught.value)
