"""A page that shows what a model detects in dropped photos or in frames of a webcam, and the server behind it.

The server answers each picture once, with all detections above a low score; the page draws those that its controls let
through.
"""

import http
import http.server
import io
import ipaddress
import json
import socket
import socketserver
import sys
import threading
import urllib.parse

import numpy as np

from kerasdet import data, images
from kerasdet.evaluation import coco
from kerasdet.images import header
from kerasdet.report import page

# The page can show detections from this score on.
LEAST = 0.05
# Largest picture, as a file and decoded.
_BYTES, _PIXELS = 32 * 2**20, 25_000_000
# Pictures that are read or wait for the model; with more, the server asks to come again.
_WAITING = 8
# The page needs its own text alone: no other address, and no other page around it.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob: data:; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Server(http.server.ThreadingHTTPServer):
    """Listens as soon as it is made; use it in a `with` statement.

    Args:
        model: what `load.load` returns.
        name: how the page calls it.
        host, port: where to listen; port 0 takes a free one.
        above: the score from which detections are shown at first, 0...1.

    Attributes:
        address: of the page.

    Raises:
        ValueError: the model needs proposals, or nobody can listen there.
    """

    daemon_threads = True

    def __init__(self, model, name, host="127.0.0.1", port=0, above=0.3):
        if model.needs_proposals:
            raise ValueError(f"{name} needs proposals, which the page cannot give.")
        self.model, self.least = model, min(LEAST, above)
        self.known = data.Dataset(name, model.classes, [])
        self.waiting, self.turn = threading.BoundedSemaphore(_WAITING), threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ValueError(f"cannot listen on {host}, port {port} ({error}); give another --port.") from None
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self.server_address[1]}/"
        self.names = {"localhost", host.lower(), socket.gethostname().lower()}
        self.page = page.text(
            "demo.html",
            title=name,
            above=above,
            least=self.least,
            data={
                "classes": [{"name": one, "color": page.color(index)} for index, one in enumerate(model.classes)],
                "bytes": _BYTES,
            },
        ).encode(errors="replace")
        model.detect(np.zeros([64, 64, 3], np.uint8))  # builds what the first picture would wait for

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)  # HTTPServer's also looks up the host's name, which may take long

    def serve(self):
        """Answers until Ctrl-C."""
        try:
            self.serve_forever()
        except KeyboardInterrupt:
            pass

    def server_close(self):
        super().server_close()
        self.turn.acquire()  # after the detection that runs, and before any other

    def handle_error(self, request, client_address):
        """Says what went wrong, unless somebody only hung up."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def detect(self, file):
        """Detects in a picture.

        Args:
            file: bytes of an image file.

        Returns:
            Dict of `width`, `height` and `detections`, entries of `coco.of_picture`.

        Raises:
            ValueError: it is no picture, or a very large one.
        """
        size = header.read(io.BytesIO(file)).upright
        if size and size[0] * size[1] > _PIXELS:
            raise ValueError(f"the picture has {size[1]} x {size[0]} pixels, more than {_PIXELS // 10**6} million.")
        pixels = images.picture(file)
        with self.turn:
            found = self.model.detect(pixels, above=self.least)
        height, width, _ = pixels.shape
        return {"width": width, "height": height, "detections": coco.of_picture(0, found, self.known)}


class _Handler(http.server.BaseHTTPRequestHandler):
    """Knows two things: the page at /, and pictures that are sent to /detect."""

    protocol_version, server_version, sys_version = "HTTP/1.1", "kerasdet", ""
    timeout = 30  # seconds without a byte

    def do_GET(self):
        if self.path != "/":
            return self.send_error(404, "There is nothing else than / here.")
        if self._is_named():
            self._answer(200, self.server.page, "text/html; charset=utf-8")

    def do_POST(self):
        if self.path != "/detect":
            return self.send_error(404, "Pictures are sent to /detect.")
        if not (self._is_named() and self._is_from_page() and self._has_fair_length()):
            return None
        if not self.server.waiting.acquire(blocking=False):
            return self.send_error(503, "Too many pictures wait; try again.")
        try:
            file = self.rfile.read(int(self.headers["Content-Length"]))
            self._json(200, self.server.detect(file))
        except ValueError as error:
            self._json(400, {"error": str(error)})
        finally:
            self.server.waiting.release()

    def send_error(self, code, message=None, explain=None):
        """Refuses a request in one line; its body, if any, is not read."""
        self.close_connection = True
        self._json(code, {"error": message or http.HTTPStatus(code).phrase})

    def log_message(self, *_):
        pass

    def _is_named(self):
        """Refuses the name of a stranger: a page from there would have sent its visitor's browser here."""
        try:
            name = urllib.parse.urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        except ValueError:
            name = ""
        if name in self.server.names or _is_number(name):
            return True
        self.send_error(403, "This server is not known by that name.")
        return False

    def _is_from_page(self):
        origin = self.headers.get("Origin")
        if origin is None or origin.partition("://")[2] == self.headers["Host"]:
            return True
        self.send_error(403, "Other pages may not send pictures.")
        return False

    def _has_fair_length(self):
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self.send_error(411, "State the size of the picture as Content-Length.")
        elif len(length) > 12 or int(length) > _BYTES:
            self.send_error(413, f"The file has more than {_BYTES // 2**20} MB.")
        else:
            return True
        return False

    def _json(self, code, value):
        self._answer(code, json.dumps(value).encode(), "application/json")

    def _answer(self, code, body, kind):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _is_number(name):
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
