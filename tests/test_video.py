"""Videos: times, rotation, sound, memory and damage of what is read and written; and `kerasdet predict` on them."""

import fractions
import json
import struct
import sys
import tracemalloc

import keras
import numpy as np
import pytest
from PIL import Image

from kerasdet import draw
from kerasdet.data import shapes
from kerasdet.detectors import SSD
from kerasdet.images import video
from kerasdet.load import load
from tests import companion

av = pytest.importorskip("av", reason="there is no PyAV: pip install kerasdet[video]")

RED, GREEN, BLACK = (200, 30, 30), (30, 200, 60), (0, 0, 0)
UNEVEN = (0, 40, 100, 101, 500, 520, 700, 900)


def corners(height=48, width=64):
    """Red on the left, green in the upper right, black in the lower right."""
    pixels = np.zeros([height, width, 3], np.uint8)
    pixels[:, : width // 2], pixels[: height // 2, width // 2 :] = RED, GREEN
    return pixels


def write(path, pictures, times=None, sound=None, codec="h264", begin=0):
    """A clip of pictures at times in milliseconds, by default 25 a second, with a tone if a codec is given for it."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25)
        tone = file.add_stream(sound, rate=8000, layout="mono") if sound else None
        for number, pixels in enumerate(pictures):
            if not number:
                stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
                stream.codec_context.time_base = fractions.Fraction(1, 1000)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = begin + (times[number] if times else 40 * number), fractions.Fraction(1, 1000)
            file.mux(stream.encode(frame))
            if tone:
                wave = np.int16(9000 * np.sin(np.arange(320) / 5))[None]
                heard = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
                heard.sample_rate, heard.pts = 8000, 320 * number + 8 * begin
                file.mux(tone.encode(heard))
        for one in file.streams:
            file.mux(one.encode(None))
    return path


def turned(path, a, b, c, d):
    """Writes a matrix of display into an MP4's header of a track (ISO/IEC 14496-12, 8.3.2)."""
    data = path.read_bytes()
    at = data.index(b"tkhd") + 4 + 40
    path.write_bytes(
        data[:at] + struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30) + data[at + 36 :]
    )


def heard(path):
    """The packets of a file's sound: bytes and times."""
    with av.open(str(path)) as file:
        packets = file.demux(file.streams.audio) if file.streams.audio else ()
        return [(bytes(one), float(one.pts * one.time_base)) for one in packets if one.size]


def copied(path, copy):
    """The copy of a video, undrawn."""
    with video.Video(path) as clip, video.Copy(clip, copy) as drawn:
        for frame in clip.frames(drawn.hear):
            drawn.add(frame, frame.pixels)
    return drawn


@pytest.mark.parametrize("name, begin", [("clip.mp4", 0), ("clip.mkv", 0), ("clip.mov", 0), ("clip.mkv", 5000)])
def test_frames_keep_their_times(tmp_path, name, begin):
    path = write(tmp_path / name, [corners()] * len(UNEVEN), UNEVEN, begin=begin)
    copied(path, tmp_path / "copy.mp4")
    for file in (path, tmp_path / "copy.mp4"):
        with video.Video(file) as clip:
            frames = list(clip.frames())
        np.testing.assert_allclose([frame.time for frame in frames], np.array(UNEVEN) / 1000, atol=1e-3)
        assert [frame.number for frame in frames] == [*range(len(UNEVEN))]
        for y, x, color in ((5, 5, RED), (40, 5, RED), (5, 60, GREEN), (40, 60, BLACK)):
            np.testing.assert_allclose(frames[3].pixels[y, x], color, atol=6)


@pytest.mark.parametrize("matrix, wanted", [
    ((0, 1, -1, 0), (RED, RED, BLACK, GREEN)),
    ((-1, 0, 0, -1), (BLACK, RED, GREEN, RED)),
    ((0, -1, 1, 0), (GREEN, BLACK, RED, RED)),
])  # fmt: skip
def test_frames_are_upright(tmp_path, matrix, wanted):
    """Turned to the right, upside down, and to the left: the corners in the order of reading."""
    path = write(tmp_path / "clip.mp4", [corners()] * 3)
    turned(path, *matrix)
    copied(path, tmp_path / "copy.mp4")
    for file in (path, tmp_path / "copy.mp4"):
        with video.Video(file) as clip:
            pixels = next(clip.frames()).pixels
        assert pixels.shape == ((64, 48, 3) if matrix[0] == 0 else (48, 64, 3))
        found = [pixels[y, x] for y in (5, -5) for x in (5, -5)]
        np.testing.assert_allclose(found, wanted, atol=6)


def test_the_copy_has_the_same_sound(tmp_path):
    path = write(tmp_path / "clip.mkv", [corners()] * 30, sound="aac", begin=2000)
    assert copied(path, tmp_path / "copy.mp4").lost == []
    before, after = heard(path), heard(tmp_path / "copy.mp4")
    assert len(before) > 5 and [one for one, _ in before] == [one for one, _ in after]
    steps = [np.diff([time for _, time in one]) for one in (before, after)]
    np.testing.assert_allclose(*steps, atol=2e-3)
    assert abs((before[3][1] - 2) - after[3][1]) < 0.1


@pytest.mark.parametrize("codec", ["pcm_u8", "libmp3lame"])
def test_sound_that_mp4_refuses_is_named(tmp_path, codec):
    """MP4 knows no such codec, and no MP3 of 8000 Hz."""
    path = write(tmp_path / "clip.avi", [corners()] * 30, sound=codec, codec="mpeg4")
    assert copied(path, tmp_path / "copy.mp4").lost == [codec.replace("libmp3lame", "mp3float")]
    assert not heard(tmp_path / "copy.mp4")
    with video.Video(tmp_path / "copy.mp4") as clip:
        assert len(list(clip.frames())) == 30


def test_odd_sides_are_filled_up(tmp_path):
    path = write(tmp_path / "clip.mkv", [corners(47, 63)] * 2, codec="ffv1")
    copied(path, tmp_path / "copy.mp4")
    with video.Video(tmp_path / "copy.mp4") as clip:
        pixels = next(clip.frames()).pixels
    assert pixels.shape == (48, 64, 3)
    np.testing.assert_allclose(pixels[47, 5], RED, atol=8)


def memory():
    """The process's own, MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_frames(tmp_path):
    """A frame has 0.2 MB: 300 more of them would be 60 MB, decoded or drawn; sound and pictures wait nowhere."""
    still = [corners(240, 320)]
    peaks = []
    for count in (20, 20, 320):
        path = write(tmp_path / "clip.mp4", still * count, sound="aac")
        tracemalloc.start()
        before, most = memory(), 0
        with video.Video(path) as clip, video.Copy(clip, tmp_path / "copy.mp4") as drawn:
            for frame in clip.frames(drawn.hear):
                drawn.add(frame, np.asarray(draw.outline(frame.pixels, [[20, 20, 90, 90]], (255, 0, 0))))
                most = max(most, memory() - before)
        peaks.append((tracemalloc.get_traced_memory()[1] / 2**20, most))
        tracemalloc.stop()
    _, short, long = peaks
    assert long[0] < short[0] + 2 and long[1] < max(short[1], 0) + 25


@pytest.mark.parametrize("name, words", [
    ("empty.mp4", "cannot be read as a video"),
    ("text.mp4", "cannot be read as a video"),
    ("none.mp4", "cannot be read as a video .*[Nn]o such file"),
    ("sound.mkv", "it holds no pictures"),
    ("bare.avi", "it holds no frame"),
])  # fmt: skip
def test_what_is_no_video_is_one_line(tmp_path, name, words):
    path = tmp_path / name
    if name == "empty.mp4":
        path.write_bytes(b"")
    elif name == "text.mp4":
        path.write_bytes(b"hello " * 99)
    elif name == "sound.mkv":
        with av.open(str(path), "w") as file:
            tone = file.add_stream("aac", rate=8000, layout="mono")
            one = av.AudioFrame.from_ndarray(np.zeros([1, 320], np.int16), format="s16", layout="mono")
            one.sample_rate = 8000
            file.mux(tone.encode(one))
            file.mux(tone.encode(None))
    elif name == "bare.avi":
        whole = write(path, [corners()] * 3, codec="mpeg4").read_bytes()
        path.write_bytes(whole[: whole.index(b"movi") + 4])
    with pytest.raises(ValueError, match=f"{name}: .*{words}") as raised:
        with video.Video(path) as clip:
            list(clip.frames())
    assert "\n" not in str(raised.value)


def test_a_damaged_video_is_read_up_to_the_damage(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, [40, 48, 64, 3], np.uint8)
    path = write(tmp_path / "clip.mp4", noise)
    data = bytearray(path.read_bytes())
    middle, part = len(data) // 2, len(data) // 8
    data[middle : middle + part] = bytes(part)
    path.write_bytes(data)
    count = 0
    with video.Video(path) as clip, pytest.raises(ValueError) as raised:
        for _ in clip.frames():
            count += 1
    assert 5 < count < 40 and f"clip.mp4: cannot be decoded from frame {count} on" in str(raised.value)


def test_a_missing_library_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"clip.mp4: videos need PyAV; pip install kerasdet\[video\]"):
        video.Video("clip.mp4")


def test_a_batch_is_detected_like_each_picture():
    model = SSD(**{**SSD.tiny(), "classes": shapes.CLASSES})
    pixels = np.stack([shapes.picture("val", index).image for index in range(3)])
    each = model.detect(list(pixels), above=0.0)
    together = model.detect_batch(pixels, above=0.0)
    assert len(each) == len(together) == 3
    for one, other in zip(each, together, strict=True):
        assert len(one["scores"]) > 5 and one.keys() == other.keys()
        np.testing.assert_allclose(one["scores"], other["scores"], atol=1e-4)
        np.testing.assert_allclose(one["boxes"], other["boxes"], atol=0.1)
    for wrong in (pixels[0], pixels[..., :2]):
        with pytest.raises(ValueError, match=r"pixels must have shape \[B, height, width, 3\]"):
            model.detect_batch(wrong)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and two pictures of `shapes` as photos and as the frames of a clip, beside a broken one."""
    folder = tmp_path_factory.mktemp("clips")
    keras.utils.set_random_seed(1)
    SSD(**{**SSD.tiny(), "classes": shapes.CLASSES}).save(folder / "model.keras")
    pictures = [shapes.picture("val", index).image for index in range(2)]
    Image.fromarray(pictures[0]).save(folder / "clip.png")
    write(folder / "clip.mkv", [*pictures] * 3, UNEVEN[:6], sound="pcm_s16le", codec="ffv1")
    (folder / "broken.mov").write_bytes(b"hello " * 99)
    return folder


def test_predict_takes_photos_and_videos(folder, tmp_path):
    model = load(folder / "model.keras")
    scores = model.detect(folder / "clip.png", above=0.0)["scores"]
    above = float(scores[3] + scores[4]) / 2
    done = companion.command("predict", folder / "model.keras", folder, f"--above={above}", f"--out={tmp_path}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "1 of 3 files could not be read" in done.stderr and "broken.mov: cannot be read as a video" in done.stdout
    assert "MP4 cannot hold its sound" in done.stdout or heard(tmp_path / "clip.mp4")
    assert "clip.mkv: 6 frames, 0.5 s" in done.stdout and "1 pictures, 4 detections" in done.stdout
    assert sorted(one.name for one in tmp_path.iterdir()) == ["clip-2.png", "clip.jsonl", "clip.mp4", "results.json"]
    photo = [one["score"] for one in json.loads((tmp_path / "results.json").read_text())]
    np.testing.assert_allclose(photo, scores[:4], atol=1e-5)

    lines = [json.loads(line) for line in (tmp_path / "clip.jsonl").read_text().splitlines()]
    assert [one["frame"] for one in lines] == [*range(6)]
    assert {one["file_name"] for one in lines} == {f"{folder}/clip.mkv"}
    np.testing.assert_allclose([one["time"] for one in lines], np.array(UNEVEN[:6]) / 1000, atol=1e-3)
    with video.Video(folder / "clip.mkv") as clip, video.Video(tmp_path / "clip.mp4") as drawn:
        for line, frame, copy in zip(lines, clip.frames(), drawn.frames(), strict=True):
            found = model.detect(frame.pixels, above=above)
            assert len(found["scores"]) > 0 and [one["category"] for one in line["detections"]] == found["names"]
            np.testing.assert_allclose([one["score"] for one in line["detections"]], found["scores"], atol=1e-4)
            # Brightness, because H.264 halves the resolution of colors.
            shown = draw.found(frame.pixels, found), frame.pixels, copy.pixels
            wanted, plain, seen = (np.float32(one) @ np.float32([0.3, 0.59, 0.11]) for one in shown)
            ink = np.abs(wanted - plain) > 40
            assert np.abs(wanted - seen)[ink].mean() < 0.5 * np.abs(plain - seen)[ink].mean()


def test_a_copy_never_takes_the_place_of_its_original(folder, tmp_path):
    path = write(tmp_path / "clip.mp4", [corners()] * 2)
    before = path.read_bytes()
    done = companion.command("predict", folder / "model.keras", path, f"--out={tmp_path}")
    assert done.returncode == 1 and "its copy would take its place" in done.stderr and path.read_bytes() == before
