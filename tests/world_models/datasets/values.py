"""The values that small datasets of each kind are written with."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

LENGTHS = (7, 5, 12)


def values(lengths: tuple[int, ...] = LENGTHS, size: int = 16) -> list[dict[str, np.ndarray]]:
    """Episodes of random observations [rows, 4], actions [rows, 2] and pictures [rows, size, size, 3]."""
    rng, episodes = np.random.default_rng(0), []
    for length in lengths:
        shade = np.linspace(0, 255, size)[None, :, None] * np.ones((length, 1, size))
        picture = np.stack([shade, 255 - shade, np.full_like(shade, 20.0) + 10 * np.arange(length)[:, None, None]], -1)
        episodes.append(
            {
                "observation": rng.normal(size=(length, 4)).astype(np.float32),
                "action": rng.uniform(-1, 1, (length, 2)).astype(np.float32),
                "pixels": picture.astype(np.uint8),
            }
        )
    return episodes


def held(episodes: list[dict[str, np.ndarray]], **names: str) -> dict[str, list[np.ndarray]]:
    """The values under the names of a format: `actions="action"`; dots stand for slashes in names."""
    return {name.replace("__", "/"): [episode[key] for episode in episodes] for name, key in names.items()}


def jpeg(frame: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_video(file: Path, frames: np.ndarray, gop: int = 5) -> None:
    """Write frames [n, height, width, 3] as H.264, with frames that depend on later ones."""
    from fractions import Fraction

    import av

    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(file, "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(10), options={"crf": "8", "g": str(gop), "threads": "1"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())


CODEC = dict.fromkeys(("observation.images.top", "obses", "pixels"), 4.0)
"""Mean error that H.264 and JPEG may make."""
