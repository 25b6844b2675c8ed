"""Pictures in video files: decoded by PyAV from the key frame before them, without decoding what lies before it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Int

from world_models.datasets.base import Column, DatasetError, column_of
from world_models.datasets.columns import PerProcess
from world_models.datasets.refusals import READ_ERRORS, damaged, library

IDLE = 32
"""Decoders that are kept open per process."""
INDEXED = 1024
"""Files whose frames' times are kept."""
CHECKED = 64
"""Files whose frames are counted when a dataset is opened, evenly spaced; the others are checked when they are read."""
MAX_PIXELS = 4096 * 4096


@dataclass(frozen=True)
class FrameTimes:
    """Times of a video's frames in the order in which they are shown, in units of the stream."""

    times: Int[np.ndarray, " frames"]
    keys: Int[np.ndarray, " keys"]
    """Numbers of the frames from which decoding can begin."""


class Decoders:
    """Open video files; each thread takes a decoder and puts it back, so that several can read one file."""

    def __init__(self) -> None:
        self._av = library("av", "video")
        self._lock = threading.Lock()
        self._idle: OrderedDict[tuple[str, int], Decoder] = OrderedDict()
        self._indexed: OrderedDict[str, FrameTimes] = OrderedDict()
        self._number = 0

    def frames(self, file: str, start: int, stop: int) -> np.ndarray:
        """Frames `start` to `stop - 1` of a file, `[frames, height, width, 3]`. Raises DatasetError for a missing frame."""
        decoder = self._take(file)
        found = decoder.read(start, stop)
        with self._lock:
            self._number += 1
            self._idle[file, self._number] = decoder
            while len(self._idle) > IDLE:
                self._idle.popitem(last=False)[1].close()
        return found

    def count(self, file: str) -> int:
        """Number of frames of a file, by its index."""
        return len(self._times(file).times)

    def _take(self, file: str) -> Decoder:
        with self._lock:
            for key in reversed(self._idle):
                if key[0] == file:
                    return self._idle.pop(key)
        return Decoder(self._av, file, self._times(file))

    def _times(self, file: str) -> FrameTimes:
        with self._lock:
            known = self._indexed.get(file)
        if known is None:
            known = frame_times(self._av, file)
            with self._lock:
                self._indexed[file] = known
                while len(self._indexed) > INDEXED:
                    self._indexed.popitem(last=False)
        return known


class Decoder:
    """A video file that is being decoded; it goes on where it is when the next frames are asked for."""

    def __init__(self, av: Any, file: str, times: FrameTimes) -> None:
        self._file, self._times = file, times
        self._container = av.open(file)
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = 1  # windows are decoded side by side
        self._frames: Any = None
        self._next = 0

    def read(self, start: int, stop: int) -> np.ndarray:
        """The frames. Raises DatasetError for one that is missing or cannot be decoded."""
        if stop > len(self._times.times):
            raise DatasetError(f"{self._file} has {len(self._times.times)} frames, and frame {stop - 1} was asked for.")
        context = self._stream.codec_context
        if context.width * context.height > MAX_PIXELS:
            raise DatasetError(f"{self._file}: frames of {context.width} x {context.height} px are too large.")
        if start == stop:
            return np.zeros((0, context.height, context.width, 3), np.uint8)
        try:
            found = self._decoded(start, stop, self._key(start)) or self._decoded(start, stop, 0)
        except READ_ERRORS as error:
            self._frames = None
            raise damaged(f"{self._file}, frames {start} to {stop - 1},", error) from error
        if not found:
            raise DatasetError(f"{self._file}: frames {start} to {stop - 1} cannot be decoded: copy the file again.")
        return np.stack(found)

    def close(self) -> None:
        """Close the file."""
        self._frames = None
        self._container.close()

    def _key(self, start: int) -> int:
        place = int(np.searchsorted(self._times.keys, start, side="right")) - 1
        return int(self._times.keys[place]) if place >= 0 else 0

    def _decoded(self, start: int, stop: int, key: int) -> list[np.ndarray] | None:
        """The frames, decoded from `key` on or from where the decoder is; None if one of them did not come."""
        if self._frames is None or not key <= self._next <= start:
            self._container.seek(int(self._times.times[key]), stream=self._stream, backward=True)
            self._frames, self._next = self._container.decode(self._stream), key
        found: list[np.ndarray] = []
        for frame in self._frames:
            number = int(np.searchsorted(self._times.times, frame.pts if frame.pts is not None else -1))
            if number > start + len(found):
                break
            self._next = number + 1
            if number == start + len(found):
                found.append(frame.to_ndarray(format="rgb24"))
                if len(found) == stop - start:
                    return found
        self._frames = None
        return None


def frame_times(av: Any, file: str) -> FrameTimes:
    """The times of a file's frames, from its packets, none of which is decoded."""
    try:
        with av.open(file) as container:
            stream = container.streams.video[0]
            packets = [(packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.pts is not None]
    except READ_ERRORS as error:
        raise damaged(file, error) from error
    packets.sort()
    times = np.array([time for time, _ in packets], np.int64)
    return FrameTimes(times, np.nonzero([key for _, key in packets])[0])


def declared_frames(file: str) -> tuple[int, tuple[int, int, int]]:
    """Number of frames that a file's header declares, 0 if it does not, and height, width and channels."""
    av = library("av", "video")
    try:
        with av.open(file) as container:
            stream = container.streams.video[0]
            return int(stream.frames), (int(stream.codec_context.height), int(stream.codec_context.width), 3)
    except READ_ERRORS as error:
        raise damaged(file, error) from error


@dataclass(frozen=True)
class VideoReader:
    """A column of pictures in video files."""

    decoders: PerProcess[Decoders]
    files: tuple[str, ...]
    """The file of each episode."""
    firsts: Int[np.ndarray, " episodes"]
    """Frame of each episode's first row in its file."""
    column: Column

    def read(self, episode: int, start: int, stop: int) -> np.ndarray:
        """The pictures of some rows."""
        first = int(self.firsts[episode])
        found = self.decoders.get().frames(self.files[episode], first + start, first + stop)
        if found.shape[1:] != self.column.shape:
            raise DatasetError(f"{self.files[episode]}: frames are {found.shape[1:]}, and {self.column.shape} is expected.")
        return found

    def read_windows(self, episodes: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"], rows: int) -> np.ndarray:
        """The windows, read in the order of the files so that few are opened twice."""
        found = np.empty((len(episodes), rows, *self.column.shape), np.uint8)
        for k in np.lexsort((starts, episodes)).tolist():
            found[k] = self.read(int(episodes[k]), int(starts[k]), int(starts[k]) + rows)
        return found


def video_column(
    name: str,
    files: Sequence[str],
    firsts: Int[np.ndarray, " episodes"],
    lengths: Int[np.ndarray, " episodes"],
    decoders: PerProcess[Decoders],
    exact: bool = True,
) -> tuple[Column, VideoReader]:
    """The column of pictures in videos. Raises DatasetError where a file has fewer frames than rows, or not as many.

    With `exact`, a file has the frames of its episodes and no others.
    """
    needed: dict[str, tuple[int, int]] = {}
    for episode, (file, end) in enumerate(zip(files, (firsts + lengths).tolist(), strict=True)):
        needed[file] = max(needed.get(file, (0, 0)), (end, episode))
    distinct = list(needed)
    checked = [
        distinct[k] for k in np.unique(np.linspace(0, len(distinct) - 1, min(CHECKED, len(distinct))).round().astype(int))
    ]
    shape: tuple[int, int, int] = (0, 0, 3)
    for file in checked:
        count, shape = declared_frames(file)
        rows, episode = needed[file]
        count = count or decoders.get().count(file)
        if count < rows or (exact and count != rows):
            raise DatasetError(
                f"{file} has {count} frames, and its episodes, the last of which is {episode}, have {rows} rows: copy it again."
            )
    column = column_of(name, shape, np.uint8)
    return column, VideoReader(decoders, tuple(files), firsts, column)


def shared_decoders() -> PerProcess[Decoders]:
    """Decoders for all the columns of a dataset."""
    return PerProcess(partial(Decoders))
