"""Video files: upright frames with their times, one after the other, and a drawn copy with the sound of the original.

A video is never in memory as a whole: frames are decoded when they are asked for, and encoded as they come.
"""

import contextlib
import dataclasses
import fractions
import os

import numpy as np

ENDINGS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".flv", ".3gp")

# Constant quality of H.264, by which lines and labels stay sharp; smaller is better.
_QUALITY = "20"


@dataclasses.dataclass
class Frame:
    """A picture of a video.

    Attributes:
        pixels: [H, W, 3] uint8, RGB, upright.
        number: its place in the video, from 0.
        ticks: when it is shown, in the units of the video's `clock`, from the beginning.
        time: the same in seconds.
    """

    pixels: np.ndarray
    number: int
    ticks: int
    time: float


def is_video(path):
    """Whether a file has the ending of a video."""
    return os.fspath(path).lower().endswith(ENDINGS)


class Video:
    """A video file that is read from its beginning to its end; use it in a `with` statement.

    Args:
        path: str or path-like; a file that FFmpeg can read.

    Attributes:
        path: the same.
        clock: seconds of a tick, a `Fraction`.
        rate: mean number of frames in a second, a `Fraction`.
        count: number of frames that the file's header states; 0 if it states none.
        sounds: streams of sound, if any.

    Raises:
        ValueError: the file is no video, or PyAV is not installed; one line names the file.
    """

    def __init__(self, path):
        self.path, self.av = path, _library(path)
        try:
            self.container = self.av.open(os.fspath(path))
        except (self.av.FFmpegError, OSError) as error:
            raise ValueError(f"{path}: cannot be read as a video ({error.strerror})") from None
        if not self.container.streams.video:
            self.container.close()
            raise ValueError(f"{path}: cannot be read as a video (it holds no pictures)")
        self.stream = self.container.streams.video[0]
        self.sounds = self.container.streams.audio
        self.clock, self.count = self.stream.time_base, self.stream.frames
        self.rate = self.stream.average_rate or fractions.Fraction(25)
        self.begin = fractions.Fraction(self.container.start_time or 0, self.av.time_base)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.container.close()

    def frames(self, hear=None):
        """Decodes the frames.

        Args:
            hear: function that takes each packet of the sounds on the way; None to skip them.

        Yields:
            `Frame`s.

        Raises:
            ValueError: the file holds no frame, is damaged from some frame on, or its frames change their size.
        """
        number, last, size = 0, -1, None
        try:
            for packet in self.container.demux(self.stream, *(self.sounds if hear else ())):
                if packet.stream is not self.stream:
                    hear(packet)
                    continue
                for frame in packet.decode():
                    last, pixels = max(self._ticks(frame, number), last + 1), _upright(frame)
                    size = size or pixels.shape
                    if pixels.shape != size:
                        raise ValueError(
                            f"{self.path}: its pictures change their size at frame {number}; split it there."
                        )
                    yield Frame(pixels, number, last, float(last * self.clock))
                    number += 1
        except self.av.FFmpegError as error:
            place = f"from frame {number} on" if number else "at all"
            raise ValueError(f"{self.path}: cannot be decoded {place} ({error.strerror})") from None
        if not number:
            raise ValueError(f"{self.path}: cannot be read as a video (it holds no frame)")

    def shift(self, clock):
        """Ticks of a clock between its 0 and the beginning of the video."""
        return round(self.begin / clock)

    def _ticks(self, frame, number):
        """When a frame is shown; by the mean rate where the file does not say."""
        if frame.pts is None:
            return round(number / self.rate / self.clock)
        return frame.pts - self.shift(self.clock)


class Copy:
    """A video of drawn frames at the times of the original's, H.264 in MP4, with its sounds as they are.

    The file is made when its first frame comes; use it in a `with` statement.

    Args:
        video: the `Video` that is copied.
        path: of the file to write, which ends in .mp4.

    Attributes:
        lost: codecs of sounds that MP4 cannot hold, and that are left out.
    """

    def __init__(self, video, path):
        self.video, self.path, self.av = video, os.fspath(path), video.av
        self.container, self.waiting, self.lost = None, [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.container is not None:
            self.container.mux(self.stream.encode(None))
            self.container.close()

    def hear(self, packet):
        """Copies a packet of sound."""
        if self.container is None:
            self.waiting.append(packet)
            return
        sound = self.sounds.get(packet.stream.index)
        if sound is None or packet.dts is None:
            return
        shift = self.video.shift(packet.time_base)
        packet.dts -= shift
        if packet.pts is not None:
            packet.pts -= shift
        packet.stream = sound
        self.container.mux(packet)

    def add(self, frame, pixels):
        """Writes a frame.

        Args:
            frame: the `Frame` of the original.
            pixels: [H, W, 3] uint8, what is shown in its place.
        """
        height, width = pixels.shape[:2]
        if self.container is None:
            self._open(height + height % 2, width + width % 2)
        # H.264 halves the resolution of colors, and so takes even sides only.
        pixels = np.pad(pixels, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")
        shown = self.av.VideoFrame.from_ndarray(pixels, format="rgb24")
        shown.pts, shown.time_base = frame.ticks, self.video.clock
        self.container.mux(self.stream.encode(shown))

    def _open(self, height, width):
        try:
            self._start(height, width, self.video.sounds)
        except self.av.FFmpegError:
            self.container.close()
            self._start(height, width, ())
        self.lost = [one.codec_context.name for one in self.video.sounds if one.index not in self.sounds]
        for packet in self.waiting:
            self.hear(packet)
        self.waiting.clear()

    def _start(self, height, width, sounds):
        self.container = self.av.open(self.path, "w")
        self.stream = self.container.add_stream("h264", rate=self.video.rate, options={"crf": _QUALITY})
        self.stream.height, self.stream.width, self.stream.pix_fmt = height, width, "yuv420p"
        self.stream.codec_context.time_base = self.video.clock
        self.sounds = {}
        for sound in sounds:
            with contextlib.suppress(ValueError):  # MP4 has no such sound
                self.sounds[sound.index] = self.container.add_stream_from_template(sound)
        self.container.start_encoding()


def _library(path):
    try:
        import av
    except ImportError:
        raise ValueError(f"{path}: videos need PyAV; pip install kerasdet[video].") from None
    av.logging.set_level(None)  # what is wrong comes as an exception
    return av


def _upright(frame):
    """Pixels of a frame, turned as the file says."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
