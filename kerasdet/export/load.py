"""Opens exported files as detectors: `detect` and the verbs of evaluation, for both SavedModels and TFLite files."""

import json
import pathlib
import threading

import numpy as np
import tensorflow as tf

from kerasdet import images as image
from kerasdet.detect import Detects
from kerasdet.export import answers, metadata, saved_model


class Exported(Detects):
    """An exported file, which processes one picture at a time and names its outputs as in `answers.named`.

    Args:
        facts: dict of `answers.facts`.
        ask: function from pixels [1, H, W, 3] uint8, and proposals [1, R, 4] if needed, to the dict of arrays of
            `answers.named`.
        opened: arguments of `load`, by which another process opens the file again.
    """

    def __init__(self, facts, ask, opened=()):
        self.classes = tuple(facts["classes"])
        self.suppression, self.needs_proposals = facts["suppression"], facts["needs_proposals"]
        self.needs_masks, self.num_keypoints = facts["needs_masks"], facts["num_keypoints"]
        self.ask, self.opened = ask, opened

    def __reduce__(self):
        return load, self.opened

    def preprocess(self, pixels, size=None, scale=1.0):
        """The unchanged picture, see `Detector`: the file itself resizes."""
        self._check_scale(scale)
        return image.preprocess(pixels, ("keep",))

    def network(self, images, training=False):
        """Nothing: a file has no raw outputs."""
        return {}

    def loss_terms(self, outputs, objects, images, training=False):
        """Nothing: a file has no loss."""
        return {}

    def detections(self, outputs, images):
        """See `Detector`."""
        keys = ["boxes", "scores", "classes", "counts"]
        keys += ["masks"] * self.needs_masks + ["keypoints"] * bool(self.num_keypoints)
        kinds = [tf.int32 if key in ("classes", "counts") else tf.float32 for key in keys]
        given = [images[key] for key in ("pixels", "windows", "ids", "proposals") if key in images]
        found = tf.numpy_function(lambda *arrays: list(map(self._each(*arrays).get, keys)), given, kinds)
        return dict(zip(keys, found, strict=True))

    def _each(self, pixels, windows, ids, proposals=None):
        """The detections of a padded batch, picture by picture; none for pictures that only fill it up."""
        found = []
        for i in np.flatnonzero(ids >= 0):
            width, height = windows[i, 2:].astype(int)
            found.append(self._found(pixels[i, :height, :width], None if proposals is None else proposals[i]))
        counts = [len(one["scores"]) for one in found] + [0] * (len(ids) - len(found))
        batch = {"counts": np.int32(counts)}
        for key, value in found[0].items():
            batch[key] = np.zeros([len(ids), max(counts), *value.shape[1:]], value.dtype)
            for i, one in enumerate(found):
                batch[key][i, : counts[i]] = one[key]
        return batch

    def _check_scale(self, scale):
        if scale != 1.0:
            raise ValueError("an exported file resizes by itself: give no scales as views.")

    def _found(self, pixels, proposals, scale=1.0):
        self._check_scale(scale)
        given = [np.uint8(np.round(pixels))[None]]
        if proposals is not None and not self.needs_proposals:
            raise ValueError("the file proposes regions itself and takes no others: give no proposals.")
        if proposals is not None:
            given.append(np.float32(proposals).reshape(1, -1, 4))
        said = {name: value[0] for name, value in self.ask(*given).items()}
        return answers.in_pixels(said, *pixels.shape[:2])


def is_exported(path):
    """Whether a path is a SavedModel, a folder with versions of one, or a TFLite file."""
    path = pathlib.Path(path)
    return path.suffix == ".tflite" or _latest(path) is not None


def load(path, threads=None):
    """Opens a file that `kerasdet.export` wrote.

    Args:
        path: a TFLite file, a SavedModel, or a folder of versions, of which the last is used.
        threads: threads of TFLite; None for its default.

    Returns:
        An `Exported`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file was not written by kerasdet, or its outputs are not detections.
    """
    path = pathlib.Path(path)
    if path.suffix == ".tflite":
        return _tflite(path, threads)
    folder = _latest(path)
    if folder is None:
        raise FileNotFoundError(f"{path}: no SavedModel there.")
    facts = folder / "assets" / "model.json"
    if not facts.is_file():
        raise ValueError(
            f"{folder}: its assets have no model.json; only SavedModels that kerasdet wrote can be opened."
        )
    loaded = tf.saved_model.load(str(folder))  # keeps the variables that its signatures read
    serve = loaded.signatures["serving_default"]

    def ask(*given):
        inputs = dict(zip(("images", "proposals"), map(tf.constant, given), strict=False))
        return {name: value.numpy() for name, value in serve(**inputs).items()}

    made = Exported(json.loads(facts.read_text()), ask, (str(path.resolve()), threads))
    made.loaded = loaded
    return made


def _latest(path):
    """The SavedModel in a folder, or that of its last version; None if there is none."""
    versions = sorted(saved_model.versions(path), reverse=True)
    folders = (path, *(path / str(version) for version in versions))
    return next((folder for folder in folders if (folder / "saved_model.pb").is_file()), None)


def _tflite(path, threads):
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    facts = metadata.read_file(path, metadata.FACTS)
    if facts is None:
        raise ValueError(f"{path}: it contains no model.json; only TFLite files that kerasdet wrote can be opened.")
    facts = json.loads(facts)
    interpreter = Lite(path, threads)
    if "detection_boxes" not in interpreter.outputs:
        raise ValueError(
            f"{path}: its outputs are {', '.join(interpreter.outputs)}, not detections; it was exported with raw."
        )
    size = facts.get("size")

    def ask(pixels, *proposals):
        proposals = [answers.padded(boxes, interpreter.proposals) for boxes in proposals]
        if size is None:
            return interpreter(pixels, *proposals)
        canvas, frames, windows = answers.fitted(pixels, facts["resize"], facts["margin"])
        said = interpreter(canvas, *(image.to_frames(boxes, frames).numpy() for boxes in proposals))
        # Convert fractions of the input to fractions of the picture.
        (x, y, left, top), (height, width) = frames[0], pixels.shape[1:3]
        scale, shift, side = np.float32([y, x]), np.float32([top, left]), np.float32([height, width])
        for name, twice in (("detection_boxes", 2), ("detection_keypoints", 1)):
            if name in said:
                places = said[name] * np.tile(size, twice) - np.tile(shift, twice)
                said[name] = places / np.tile(scale * side, twice)
        said["detection_boxes"] = said["detection_boxes"].clip(0, 1)
        return said if (windows[0] == [0, 0, *size[::-1]]).all() else _inside(said)

    return Exported(facts, ask, (str(path.resolve()), threads))


def _inside(said):
    """Drops detections in the margins, which have no area in the picture."""
    count = int(said["num_detections"][0])
    y1, x1, y2, x2 = said["detection_boxes"][0, :count].T
    kept = np.flatnonzero((y2 > y1) & (x2 > x1))
    said = {name: value if name == "num_detections" else value[:, kept] for name, value in said.items()}
    return {**said, "num_detections": np.float32([len(kept)])}


class Lite:
    """A TFLite file as a function from its inputs to a dict of arrays, run by LiteRT's interpreter.

    Threads take turns, because an interpreter has one set of tensors; to run side by side, each opens the file.

    Args:
        path: path of the file.
        threads: number of threads; None for the interpreter's default.
    """

    def __init__(self, path, threads=None):
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise ValueError(f"{path}: TFLite files need ai-edge-litert; pip install kerasdet[tflite].") from None
        self.interpreter = Interpreter(str(path), num_threads=threads)
        details = self.interpreter.get_input_details()
        self.inputs = [detail["index"] for detail in details]
        self.proposals = details[-1]["shape"][1]  # meaningful only if the detector needs proposals
        self.outputs = {detail["name"]: detail["index"] for detail in self.interpreter.get_output_details()}
        self.shapes = None
        self.turn = threading.Lock()

    def __call__(self, *arrays):
        with self.turn:
            return self._run(arrays)

    def _run(self, arrays):
        shapes = [array.shape for array in arrays]
        if self.shapes != shapes:
            for index, shape in zip(self.inputs, shapes, strict=True):
                self.interpreter.resize_tensor_input(index, shape, strict=True)
            self.interpreter.allocate_tensors()
            self.shapes = shapes
        for index, array in zip(self.inputs, arrays, strict=True):
            self.interpreter.set_tensor(index, array)
        self.interpreter.invoke()
        return {name: self.interpreter.get_tensor(index) for name, index in self.outputs.items()}
