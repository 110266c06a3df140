"""The table of released models: where they are, what they are, and who made them."""

from collections.abc import Callable
from typing import NamedTuple

import keras

from kerasdet.weights import darknet, object_detection


class Released(NamedTuple):
    """A released model.

    url, sha256: of its file.
    read: from the file's path to a `PlainDetector`.
    license: of the weights.
    source: who released them.
    published: what was measured, on which data.
    """

    url: str
    sha256: str
    read: Callable
    license: str
    source: str
    published: dict


RELEASED = {
    "ssd_mobilenet_v1_coco": Released(
        url="https://github.com/Nazmul1607081/tensorflow-light-android-app/raw/"
        "608ce23d26da51f20132362fa01eabd3272c38a8/app/src/main/assets/detect.tflite",
        sha256="e4b118e5e4531945de2e659742c7c590f7536f8d0ed26d135abcfe83b4779d13",
        read=object_detection.ssd_mobilenet_v1,
        license="Apache-2.0, as TensorFlow's demonstration of object detection, whose model it is",
        source="TensorFlow Object Detection API: SSD on MobileNetV1 0.75, 300 x 300, quantized, trained on COCO",
        published={"AP": 0.203, "AP50": 0.361, "data": "158 pictures of COCO val2017, measured in float"},
    ),
    "yolov3_tiny_coco": Released(
        url="https://pjreddie.com/media/files/yolov3-tiny.weights",
        sha256="dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
        read=darknet.yolov3_tiny,
        license="public domain, as darknet",
        source="darknet: YOLOv3-tiny, 416 x 416, trained on COCO",
        published={"AP50": 0.331, "data": "COCO test-dev"},
    ),
}


def fetch(name):
    """Downloads a released file to Keras' cache, once, and checks its SHA-256.

    Args:
        name: a key of `RELEASED`.

    Returns:
        The file's path.

    Raises:
        ValueError: the file is damaged.
        ConnectionError: it is not in the cache and cannot be downloaded.
    """
    entry = RELEASED[name]
    file = f"{name}.{entry.url.rpartition('.')[2]}"
    checked = {"file_hash": entry.sha256, "hash_algorithm": "sha256"}
    try:
        return keras.utils.get_file(file, entry.url, cache_subdir="kerasdet", **checked)
    except ValueError:
        raise
    except Exception as error:  # Keras raises no narrower one where a download fails
        raise ConnectionError(
            f"{name}: {str(error).splitlines()[0]}; download it elsewhere, make a preset of it by "
            f"`kerasdet import_weights {name} --file=FILE`, and give the preset's folder by --weights."
        ) from None


def load(name, file=None):
    """Reads a released detector.

    Args:
        name: a key of `RELEASED`.
        file: path of its file; None takes that of `fetch`.

    Returns:
        A `PlainDetector`, of which `Detector.from_preset` makes the detector.

    Raises:
        ValueError: the name is unknown, or the file is damaged.
    """
    if name not in RELEASED:
        raise ValueError(f"a released model must be one of {sorted(RELEASED)}, got {name!r}.")
    return RELEASED[name].read(fetch(name) if file is None else file)
