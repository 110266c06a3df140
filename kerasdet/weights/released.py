"""Released models by name: fetched once and checked, and read to a `PlainDetector`."""

import os

import keras

from kerasdet import command
from kerasdet.weights import darknet, files, object_detection, recognize
from kerasdet.weights.zoo import RELEASED

# From a file's path to a `PlainDetector`.
READERS = {
    "tensors": recognize.load,
    "ssd_mobilenet_v1": object_detection.ssd_mobilenet_v1,
    "yolov3_tiny": darknet.yolov3_tiny,
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
    elsewhere = f"make a preset of it by `kerasdet import_weights {name} --file=FILE`, and give that by --weights."
    if entry.url is None:
        raise ConnectionError(f"{name}: no server gives the file plainly; get it by hand, {entry.source}; {elsewhere}")
    file = f"{name}.{entry.url.rpartition('.')[2]}"
    checked = {"file_hash": entry.sha256, "hash_algorithm": "sha256"} if len(entry.sha256) == 64 else {}
    try:
        path = keras.utils.get_file(file, entry.url, cache_subdir="kerasdet", **checked)
    except ValueError:
        raise
    except Exception as error:  # Keras raises no narrower one where a download fails
        raise ConnectionError(f"{name}: {str(error).splitlines()[0]}; download it elsewhere, {elsewhere}") from None
    return path if checked else check(path, entry.sha256)


def check(path, digits):
    """Checks the first digits of a file's SHA-256, as torchvision's files have them in their names.

    Args:
        path: of the file.
        digits: the digits; "" for none that are known.

    Returns:
        The path.

    Raises:
        ValueError: they are others.
    """
    found = files.sha256(path) if digits else ""
    if not found.startswith(digits):
        raise ValueError(f"{path}: a damaged or another file: its SHA-256 begins with {found[:8]}, not {digits[:8]}.")
    return path


def named(path):
    """The key of `RELEASED` of a file that has its release's own name; None for others."""
    file = os.path.basename(path)
    known = {entry.url.rpartition("/")[2]: name for name, entry in RELEASED.items() if len(entry.sha256) == 8}
    return known.get(file)


def load(name, file=None):
    """Reads a released detector.

    Args:
        name: a key of `RELEASED`.
        file: path of its file; None takes that of `fetch`.

    Returns:
        A `PlainDetector`, of which `Detector.from_preset` makes the detector; without the ids of COCO that are unused.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the name is unknown, or the file is damaged.
    """
    if name not in RELEASED:
        nearest = command.nearest(name, RELEASED)
        raise ValueError(f"there is no released model {name!r}; did you mean {nearest!r}? `kerasdet models` lists all.")
    entry = RELEASED[name]
    if file is not None and not os.path.isfile(file):
        raise FileNotFoundError(f"{file}: no such weights file.")
    whole = len(entry.sha256) == 64  # of a file by hand, which may be a copy of another kind, such as .npz
    path = fetch(name) if file is None else file if whole else check(file, entry.sha256)
    plain = READERS[entry.read](path)
    if plain.detector != entry.detector:
        raise ValueError(f"{path}: it holds a {plain.detector}, but {name} is a {entry.detector}.")
    used = [one for one in plain.classes if not one.startswith(recognize.UNUSED)]
    return plain if len(used) == len(plain.classes) else plain._replace(used=used)
