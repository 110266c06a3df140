"""Opens a local page that shows what a model detects in your photos or in front of your webcam.

    python -m tools.demo runs/quickstart
    python -m tools.demo runs/quickstart/float32.tflite --port=0

The page has a slider for the score and switches for classes, boxes, masks, keypoints and names, and saves the results
and the drawn pictures. Only this machine can open it, unless --host says otherwise. Ctrl-C ends it.
"""

import ipaddress
import os
import sys

from absl import flags

from kerasdet import command

MODEL = flags.DEFINE_string("model", None, "Run folder, .keras file, preset or export; may also come first.")
HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; 0.0.0.0 lets other machines in.")
PORT = flags.DEFINE_integer("port", 8000, "Port to listen on; 0 takes a free one.", 0, 65535)


def main(arguments):
    from kerasdet import demo, runs
    from kerasdet.load import load

    path = command.argument(arguments[:], MODEL, "run folder or .keras file")
    model = load(path)
    name = os.path.basename(os.path.abspath(path))
    with demo.Server(model, name, HOST.value, PORT.value, runs.threshold(path)) as server:
        if not _is_local(HOST.value):
            print("warning: everyone who can reach this machine can send pictures to the page", file=sys.stderr)
        print(f"{name} waits for pictures at {server.address} (Ctrl-C ends it)", flush=True)
        server.serve()


def _is_local(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    command.script(main)
