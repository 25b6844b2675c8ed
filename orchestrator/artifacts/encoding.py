"""Encoding of frames as gif, mp4 and png."""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

SECONDS = 4.0
"""Approximate length of an animation; the last frame is shown for another second."""

_TIMEOUT = 60.0
"""Seconds that ffmpeg may take for a few hundred small frames."""


class EncodingError(RuntimeError):
    """The video could not be made by ffmpeg."""


def step_seconds(frames: int) -> float:
    """Seconds for which each frame is shown."""
    return max(0.04, SECONDS / frames)


def png(frame: Image.Image) -> bytes:
    """The frame as a png."""
    buffer = io.BytesIO()
    frame.save(buffer, "PNG")
    return buffer.getvalue()


def gif(frames: Sequence[Image.Image]) -> bytes:
    """The frames as an endless gif. One palette serves all frames (the last has every colour): faster, and no flicker."""
    palette = frames[-1].quantize(96, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    step = round(1000 * step_seconds(len(frames)))
    durations = [step] * (len(frames) - 1) + [step + 1000]
    buffer = io.BytesIO()
    indexed[0].save(buffer, "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0, optimize=False)
    return buffer.getvalue()


def mp4s(animations: Sequence[Sequence[Image.Image]]) -> list[bytes]:
    """H.264 videos that browsers play: yuv420p, even sides, index first. Raises EncodingError if ffmpeg fails.

    One call encodes several animations of one length and size, because starting ffmpeg takes as long as a short video.
    """
    frames = len(animations[0])
    rate = max(1, round(1 / step_seconds(frames)))
    shown = [frame for animation in animations for frame in [*animation, *[animation[-1]] * rate]]
    length = frames + rate
    width, height = shown[0].size
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate), "-i", "pipe:0"]
    even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white"]
    # One thread, because the actor has one core; the fastest preset, because every selected cell gets a video and it is small.
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
        # Files, not pipes: ffmpeg rewrites a video to put its index first.
        command = [get_ffmpeg_exe(), "-v", "error", *source, *even, *codec, *parts, *kind, f"{folder}/%d.mp4"]
        raw = b"".join(frame.tobytes() for frame in shown)
        try:
            ended = subprocess.run(command, input=raw, capture_output=True, timeout=_TIMEOUT, check=False)
            made = [(Path(folder) / f"{number:d}.mp4").read_bytes() for number in range(len(animations))]
        except subprocess.TimeoutExpired as error:
            raise EncodingError(f"ffmpeg took longer than {_TIMEOUT:g} s for {len(shown)} frames") from error
        except FileNotFoundError as error:
            raise EncodingError(f"ffmpeg did not make {error.filename}") from error
        if ended.returncode:
            words = " ".join(ended.stderr.decode(errors="replace").split())[-300:]
            raise EncodingError(f"ffmpeg ended with {ended.returncode}: {words}")
        return made
