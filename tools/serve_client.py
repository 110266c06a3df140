"""Sends pictures to a running TensorFlow Serving and draws the answers.

    python -m tools.serve_client http://localhost:8501/v1/models/blood photos/*.jpg
    python -m tools.serve_client grpc://localhost:8500/blood photos/*.jpg --out=seen

The first form uses REST, the second gRPC, which needs `pip install kerasdet[serving]`. Pictures are sent as files and
decoded by the server.
"""

import os
import pathlib

from absl import flags

from kerasdet import command

OUT = flags.DEFINE_string("out", "served", "Folder for the pictures.")
ABOVE = flags.DEFINE_float("above", 0.3, "Minimum score to draw, 0...1.")
TIMEOUT = flags.DEFINE_float("timeout", 60.0, "Seconds to wait for an answer.")


def main(arguments):
    from kerasdet import draw, images
    from kerasdet.export import client

    if len(arguments) < 3:
        raise ValueError("give the model's address and at least one picture.")
    _, address, *paths = arguments
    os.makedirs(OUT.value, exist_ok=True)
    for path, copy in zip(paths, draw.copies(paths, OUT.value), strict=True):
        pixels, data = images.load(path), pathlib.Path(path).read_bytes()
        found = client.detect(address, data, *pixels.shape[:2], ABOVE.value, TIMEOUT.value)
        draw.found(pixels, found).save(copy)
        said = [f"{name} {score:.2f}" for name, score in zip(found["names"], found["scores"], strict=True)]
        print(f"{path}: {', '.join(said) or 'nothing'}")


if __name__ == "__main__":
    command.script(main)
