"""The demo: what its server answers and refuses, and its page in a real browser."""

import base64
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from kerasdet import demo
from kerasdet.data import segments, shapes
from kerasdet.detect import Detects
from kerasdet.detectors import SSD
from tests import companion
from tests.report import browser

CLASSES = ("猫 & <b>cat</b>", "dog's", "owl")


class Known(Detects):
    """Finds four objects, with masks and keypoints, in every picture."""

    classes, num_keypoints = CLASSES, 2
    boxes = np.float32([[10, 20, 60, 90], [50, 40, 100, 80], [70, 10, 110, 60], [5, 60, 45, 95]])
    scores, numbers = np.float32([0.9, 0.6, 0.4, 0.1]), np.int32([0, 1, 0, 2])

    def _found(self, pixels, proposals, scale=1.0, pairs=None):
        ring = np.ones([28, 28], np.float32)
        ring[8:20, 8:20] = 0
        middle = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        points = np.stack([self.boxes[:, :2], middle], 1)
        keypoints = np.concatenate([points, np.full([4, 2, 1], 0.8)], 2)
        return {"boxes": self.boxes, "scores": self.scores, "classes": self.numbers,
                "masks": np.stack([ring] * 4), "keypoints": np.float32(keypoints)}  # fmt: skip


@pytest.fixture
def served():
    """A function that starts a server for a model."""
    servers = []

    def start(model, **options):
        server = demo.Server(model, "birds & <b>beasts</b>", **options)
        threading.Thread(target=server.serve, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def ssd():
    return SSD(**{**SSD.tiny(), "classes": shapes.CLASSES})


def file(pixels, kind="png"):
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, kind)
    return written.getvalue()


def ask(server, method="POST", path="/detect", body=None, **headers):
    """The status and the text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def until(done):
    """Waits for what another thread does."""
    for _ in range(3000):
        if done():
            return
        time.sleep(0.01)
    raise AssertionError("it never was so")


def test_the_answer_is_what_detect_finds(served, ssd):
    server = served(ssd)
    for index in (0, 1):
        pixels = shapes.picture("val", index).image
        status, text = ask(server, body=file(pixels))
        found, said = ssd.detect(pixels, above=demo.LEAST), json.loads(text)
        assert status == 200 and (said["width"], said["height"]) == pixels.shape[1::-1]
        boxes = np.array([one["bbox"] for one in said["detections"]])
        boxes[:, 2:] += boxes[:, :2]
        assert len(boxes) > 5
        np.testing.assert_allclose(boxes, found["boxes"], atol=1e-4)
        assert [one["score"] for one in said["detections"]] == found["scores"].tolist()
        assert [one["category"] for one in said["detections"]] == found["names"]
        assert [one["category_id"] for one in said["detections"]] == (found["classes"] + 1).tolist()


def test_masks_and_keypoints_are_answered(served):
    pixels = np.zeros([100, 120, 3], np.uint8)
    said = json.loads(ask(served(Known()), body=file(pixels, "jpeg"))[1])["detections"]
    found = Known().detect(pixels, above=0.05)
    assert len(said) == 4
    for one, mask, points in zip(said, found["masks"], found["keypoints"], strict=True):
        np.testing.assert_array_equal(segments.decode(one["segmentation"], 100, 120), mask)
        # COCO's keypoints count from the middle of the first pixel.
        np.testing.assert_allclose(np.reshape(one["keypoints"], (2, 3)) + [0.5, 0.5, 0], points)


def test_a_low_threshold_shows_more(served):
    assert served(Known(), above=0.02).least == 0.02 and served(Known(), above=0.5).least == demo.LEAST


PICTURE = file(np.zeros([100, 120, 3], np.uint8))
HUGE = PICTURE[:16] + (9000).to_bytes(4, "big") * 2 + PICTURE[24:]


@pytest.mark.parametrize("status, words, request_", [
    (404, "nothing else than /", {"method": "GET", "path": "/../setup.cfg"}),
    (404, "nothing else than /", {"method": "GET", "path": "/templates/"}),
    (404, "sent to /detect", {"path": "/"}),
    (501, "Unsupported method", {"method": "PUT"}),
    (403, "not known by that name", {"method": "GET", "path": "/", "Host": "evil.example:8000"}),
    (403, "not known by that name", {"body": PICTURE, "Host": "evil.example"}),
    (403, "not known by that name", {"body": PICTURE, "Host": "[::1"}),
    (403, "Other pages", {"body": PICTURE, "Origin": "http://evil.example"}),
    (403, "Other pages", {"body": PICTURE, "Origin": "null"}),
    (411, "Content-Length", {"body": iter([PICTURE]), "Transfer_Encoding": "chunked"}),
    (411, "Content-Length", {"body": PICTURE, "Content_Length": "many"}),
    (411, "Content-Length", {"body": PICTURE, "Content_Length": "-1"}),
    (413, "more than 32 MB", {"Content_Length": str(2**25 + 1)}),
    (413, "more than 32 MB", {"Content_Length": "9" * 5000}),
    (400, "cannot be decoded", {"body": b"no picture"}),
    (400, "cannot be decoded", {"body": b""}),
    (400, "cannot be decoded", {"body": PICTURE[:60]}),
    (400, "9000 x 9000 pixels, more than 25 million", {"body": HUGE}),
])  # fmt: skip
def test_what_is_refused_and_the_server_lives(served, status, words, request_):
    server = served(Known())
    said, text = ask(server, **request_)
    assert said == status and words in json.loads(text)["error"] and "\n" not in text
    assert ask(server, body=PICTURE)[0] == 200


@pytest.mark.parametrize(
    "host", ["localhost:9000", "127.0.0.1", "[::1]:8000", "192.168.1.7:8000", socket.gethostname()]
)
def test_the_own_names_are_known(served, host):
    server = served(Known())
    assert ask(server, "GET", "/", Host=host)[0] == 200
    assert ask(server, body=PICTURE, Host=host, Origin=f"http://{host}")[0] == 200


def test_too_many_pictures_at_once_are_refused(served):
    class Slow(Known):
        began, go = threading.Semaphore(0), threading.Event()
        together, most = 0, 0

        def _found(self, pixels, proposals, scale=1.0, pairs=None):
            Slow.together += 1
            Slow.most = max(Slow.most, Slow.together)
            if len(pixels) == 100:
                Slow.began.release()
                Slow.go.wait(60)
            Slow.together -= 1
            return super()._found(pixels, proposals)

    server, answers = served(Slow()), []
    askers = [threading.Thread(target=lambda: answers.append(ask(server, body=PICTURE)[0])) for _ in range(8)]
    for asker in askers:
        asker.start()
    Slow.began.acquire()
    until(lambda: not server.waiting._value)
    assert ask(server, body=PICTURE)[0] == 503 and ask(server, "GET", "/")[0] == 200
    Slow.go.set()
    for asker in askers:
        asker.join()
    assert answers == 8 * [200] and Slow.most == 1


def test_who_hangs_up_does_no_harm(served, capfd):
    server = served(Known())
    with socket.create_connection(server.server_address) as caller:
        caller.sendall(b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\nhalf")
    assert ask(server, body=PICTURE)[0] == 200
    until(lambda: server.waiting._value == 8)
    assert capfd.readouterr().err == ""


def test_interrupt_ends_it():
    with demo.Server(Known(), "known") as server:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        server.serve()
    with pytest.raises(OSError):
        socket.create_connection(server.server_address, timeout=1)


def test_where_nobody_can_listen_is_one_line(served):
    taken = served(Known()).server_address[1]
    for host, port in (("127.0.0.1", taken), ("192.0.2.1", 0)):
        with pytest.raises(ValueError, match=f"cannot listen on {host}"):
            demo.Server(Known(), "known", host, port)


def test_what_needs_proposals_is_refused():
    class Fast(Known):
        needs_proposals = True

    with pytest.raises(ValueError, match="fast needs proposals"):
        demo.Server(Fast(), "fast")


def test_the_command_names_what_is_missing(tmp_path):
    done = companion.command("demo", tmp_path / "none", folder=tmp_path)
    assert done.returncode == 1 and "no model there" in done.stderr and len(done.stderr.splitlines()) == 1
    done = companion.command("demo", tmp_path, "--port=70000", folder=tmp_path)
    assert done.returncode == 1 and "port=70000" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(ssd, tmp_path):
    ssd.save(tmp_path / "model.keras")
    command = [sys.executable, "-m", "kerasdet", "demo", tmp_path / "model.keras", "--host=0.0.0.0", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        port = int(re.fullmatch(r"model.keras waits .* http://0.0.0.0:(\d+)/ .*\n", running.stdout.readline())[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/detect", PICTURE)
        assert connection.getresponse().status == 200
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 0 and "Traceback" not in errors
    assert "warning: everyone who can reach this machine can send pictures" in errors


STEPS = """
  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const given = (...files) => { const t = new DataTransfer(); files.forEach((one) => t.items.add(one)); return t; };
  const saved = [];
  URL.createObjectURL = (blob) => { saved.push(blob); return "blob:nothing"; };
  HTMLAnchorElement.prototype.click = function () { saved[saved.length - 1].saved = this.download; };
  const photo = new File([bytes("PHOTO")], "photo.one.png");
  const rows = () => texts($$(".found li"));
  const color = (x, y) => {
    const c = $("canvas"), s = c.width / 120;
    return [...c.getContext("2d").getImageData(Math.round(x * s), Math.round(y * s), 1, 1).data].slice(0, 3);
  };
  const before = [shown($(".invitation")), shown($(".stage canvas")), $("#save-results").disabled, $("b").textContent];
  $("#files").files = given(photo).files;
  $("#files").dispatchEvent(new Event("change"));
  await until(() => !$("#save-results").disabled);
  const first = { rows: rows(), classes: texts($$("#classes button")), number: $("#number").textContent,
    least: $("#least").textContent, title: document.title };
  // Full color on the edge of the mask, its tint inside, and nothing in its hole; the frame, and the point in it.
  const drawn = { edge: color(10.5, 60.5), tint: color(16.5, 62.5), hole: color(30, 62), frame: color(35.5, 90.5),
    point: color(35, 55) };
  click($("[data-part=masks]")); click($("[data-part=keypoints]")); click($("[data-part=names]"));
  const bare = [color(10.5, 60.5), color(35, 55), color(35.5, 90.5)];
  click($("[data-part=boxes]"));
  const none = color(35.5, 90.5);
  for (const name of ["boxes", "masks", "keypoints", "names"]) click($(`[data-part=${name}]`));
  set($("#score"), 0.05);
  const all = rows();
  set($("#score"), 0.5);
  const strict = rows();
  click($("#classes button"));
  const without = { rows: rows(), pressed: $$("#classes button").map((one) => one.getAttribute("aria-pressed")) };
  set($("#score"), 0.3);
  $(".found li").dispatchEvent(new Event("mouseenter"));
  const lit = texts($$(".found li.lit"));
  click($("#save-results"));
  click($("#save-picture"));
  await until(() => saved.length === 2);
  const picture = await createImageBitmap(saved[1]);
  const results = { names: saved.map((one) => one.saved), json: JSON.parse(await saved[0].text()),
    size: [picture.width, picture.height] };
  const broken = new File(["no picture"], "broken.png");
  window.dispatchEvent(new DragEvent("drop", { dataTransfer: given(broken, new File([bytes("PHOTO")], "two.png")) }));
  await until(() => $$(".strip button").length === 3 && !$(".status").textContent.includes("…"));
  const strip = $$(".strip button").map((one) => [one.title, one.getAttribute("aria-current")]);
  click($(".strip .failed"));
  const error = [$(".error").textContent, shown($(".stage canvas"))];
  click($("#webcam"));
  await until(() => $(".status").textContent.includes("a frame"));
  const live = $(".status").textContent;
  click($("#webcam"));
  await until(() => $$(".strip button").length === 4);
  return { before, first, drawn, bare, none, all, strict, without, lit, results, strip, error, live,
    after: $$(".strip button")[3].title };
"""


@browser.needed
def test_the_page_is_used(served, tmp_path):
    pixels = np.full([100, 120, 3], 128, np.uint8)
    server, model = served(Known()), Known()
    steps = STEPS.replace("PHOTO", base64.b64encode(file(pixels)).decode())
    server.page = browser.prepared(server.page.decode(), steps).encode()
    camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    seen, loaded = browser.opened(server.address, tmp_path, *camera)
    assert {one.removeprefix(server.address) for one in loaded} <= {"detect"}

    found = model.detect(pixels, above=0.0)
    rows = [f"{name}{score:.2f}" for name, score in zip(found["names"], found["scores"], strict=True)]
    assert seen["before"] == [True, False, True, "Drop photos here"]
    first = seen["first"]
    assert first["rows"] == rows[:3] and first["number"] == "Found 3" and first["least"] == "0.30"
    assert first["classes"] == [f"{CLASSES[0]}2", f"{CLASSES[1]}1"] and first["title"] == "birds & <b>beasts</b>"
    blue, gray = np.array(demo.page.draw.color(0)), np.array([128] * 3)
    tint = 0.6 * gray + 0.4 * blue
    # The picture is enlarged, which softens edges.
    for place, wanted in {"edge": blue, "tint": tint, "hole": gray, "frame": blue, "point": blue}.items():
        np.testing.assert_allclose(seen["drawn"][place], wanted, atol=12, err_msg=place)
    np.testing.assert_allclose(seen["bare"], [gray, gray, blue], atol=12)
    np.testing.assert_allclose(seen["none"], gray, atol=2)
    assert seen["all"] == rows and seen["strict"] == rows[:2]
    assert seen["without"] == {"rows": rows[1:2], "pressed": ["false", "true"]} and seen["lit"] == rows[1:2]

    results = seen["results"]
    assert results["names"] == ["results.json", "photo.one.png"] and results["size"] == [120, 100]
    wanted = [one for one in server.detect(file(pixels))["detections"] if one["category"] == CLASSES[1]]
    assert results["json"] == [{**one, "file_name": "photo.one.png"} for one in wanted]
    assert seen["strip"] == [["photo.one.png", "false"], ["broken.png", "false"], ["two.png", "true"]]
    assert "broken.png: " in seen["error"][0] and "cannot be decoded" in seen["error"][0] and not seen["error"][1]
    assert "ms a frame" in seen["live"] and seen["after"] == "webcam.jpg"
