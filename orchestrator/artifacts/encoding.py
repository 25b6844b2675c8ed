"""Frames as files: gif, mp4 and png."""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

SECONDS = 4.0
"""Length of a film, roughly; the last frame stands for another second."""

_TIMEOUT = 60.0
"""Seconds that ffmpeg may take for a few hundred small frames."""


class EncodingError(RuntimeError):
    """ffmpeg could not make a video."""


def step_seconds(frames: int) -> float:
    """How long each frame stands."""
    return max(0.04, SECONDS / frames)


def png(frame: Image.Image) -> bytes:
    """A still."""
    buffer = io.BytesIO()
    frame.save(buffer, "PNG")
    return buffer.getvalue()


def gif(frames: Sequence[Image.Image]) -> bytes:
    """An endless gif. One palette for all frames (the last has every colour): quicker, and nothing flickers."""
    palette = frames[-1].quantize(96, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    step = round(1000 * step_seconds(len(frames)))
    durations = [step] * (len(frames) - 1) + [step + 1000]
    buffer = io.BytesIO()
    indexed[0].save(buffer, "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0, optimize=False)
    return buffer.getvalue()


def mp4s(animations: Sequence[Sequence[Image.Image]]) -> list[bytes]:
    """H.264 videos that browsers play: yuv420p, sides even, index first. EncodingError where ffmpeg cannot.

    One call for several films of one length and size, for starting ffmpeg takes as long as a small film.
    """
    frames = len(animations[0])
    rate = max(1, round(1 / step_seconds(frames)))
    shown = [frame for animation in animations for frame in [*animation, *[animation[-1]] * rate]]
    length = frames + rate
    width, height = shown[0].size
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate), "-i", "pipe:0"]
    even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white"]
    # One thread: the actor has one core. The quickest preset: a video is made of every chosen cell, and it is small anyway.
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "24", "-threads", "1", "-pix_fmt", "yuv420p"]
    cuts = ",".join(str(length * k) for k in range(1, len(animations))) or str(length)
    parts = [
        "-force_key_frames",
        f"expr:not(mod(n,{length}))",
        "-f",
        "segment",
        "-segment_frames",
        cuts,
        "-reset_timestamps",
        "1",
    ]
    kind = ["-segment_format", "mp4", "-segment_format_options", "movflags=+faststart"]
    with tempfile.TemporaryDirectory() as folder:
        # Files, not pipes: to have its index first, a video is written twice.
        command = [get_ffmpeg_exe(), "-v", "error", *source, *even, *codec, *parts, *kind, f"{folder}/%d.mp4"]
        raw = b"".join(frame.tobytes() for frame in shown)
        try:
            ended = subprocess.run(command, input=raw, capture_output=True, timeout=_TIMEOUT, check=False)
            made = [(Path(folder) / f"{number}.mp4").read_bytes() for number in range(len(animations))]
        except subprocess.TimeoutExpired as error:
            raise EncodingError(f"ffmpeg took longer than {_TIMEOUT:g} s for {len(shown)} frames") from error
        except FileNotFoundError as error:
            raise EncodingError(f"ffmpeg made no {error.filename}") from error
        if ended.returncode:
            words = " ".join(ended.stderr.decode(errors="replace").split())[-300:]
            raise EncodingError(f"ffmpeg ended with {ended.returncode}: {words}")
        return made
