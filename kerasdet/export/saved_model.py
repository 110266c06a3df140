"""SavedModels of stock operators, suppression included, which plain TensorFlow and TensorFlow Serving can load.

| signature | input | outputs |
|---|---|---|
| `serving_default` | `images` [B, H, W, 3] uint8, RGB | as `answers.named`; `detection_class_names` [B, D] strings |
| `float_images` | `images` [B, H, W, 3] float32, RGB 0...255, rounded | as above |
| `image_bytes` | `image_bytes` [B] strings, JPEG, PNG, GIF, BMP or WebP of any sizes | as above |
| `tf_example` | `tf_example` [B] serialized `tf.train.Example`s with `image/encoded` | as above |
| `metadata` | none | `class_names` [K] strings, `facts` a string of JSON |

A detector that needs proposals takes `proposals` [B, R, 4] float32, pixels, as a second input of each.
"""

import pathlib
import tempfile

import tensorflow as tf

from kerasdet import images as image
from kerasdet import ops
from kerasdet.export import answers

WARMUP = "tf_serving_warmup_requests"


def write(model, folder, version=None):
    """Writes a SavedModel.

    Args:
        model: a `Detector`.
        folder: folder to write to.
        version: None, or an integer: the model then goes to a subfolder of this name, as TensorFlow Serving expects. A
            new folder gets its name when it is complete, because servers watch for new versions.

    Returns:
        `pathlib.Path` of the SavedModel.
    """
    path = pathlib.Path(folder) if version is None else pathlib.Path(folder) / str(int(version))
    draft = path if path.exists() else path.with_name(f"writing-{path.name}")
    with ops.portable(), tempfile.TemporaryDirectory() as drafts:
        module = tf.Module()
        module.weights = [variable.value for variable in model.variables]
        module.assets = [tf.saved_model.Asset(str(file)) for file in _assets(model, pathlib.Path(drafts))]
        tf.saved_model.save(module, str(draft), signatures=_signatures(model))
    extra = draft / "assets.extra"
    extra.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(extra / WARMUP)) as file:
        for signature, inputs in _examples(model):
            file.write(_prediction_log(signature, inputs))
    if draft != path:
        draft.rename(path)
    return path


def versions(folder):
    """The version numbers in a folder, in any order."""
    return [int(path.name) for path in pathlib.Path(folder).glob("*") if path.name.isdigit()]


def next_version(folder):
    """The number after the last version in a folder; 1 if there is none."""
    return max(versions(folder), default=0) + 1


def _assets(model, folder):
    for name, text in (("classes.txt", "\n".join(model.classes) + "\n"), ("model.json", answers.facts(model))):
        (folder / name).write_text(text, encoding="utf-8")
        yield folder / name


def _signatures(model):
    names = tf.constant(["", *model.classes])
    more = [tf.TensorSpec([None, None, 4], tf.float32, "proposals")] if model.needs_proposals else []
    some, files = tf.TensorSpec([None, None, None, 3], tf.uint8), tf.TensorSpec([None], tf.string, "image_bytes")
    seen = _specs(tf.function(model.preprocess, autograph=False).get_concrete_function(some).structured_outputs)

    # The network is traced once, and every signature calls it: a smaller graph is written and loaded faster.
    @tf.function(input_signature=[seen, tf.TensorSpec([None, 2]), *more], autograph=False)
    def detect(images, sizes, *proposals):
        found = answers.to_images(model, images, sizes, *proposals)
        places = tf.cast(found["detection_classes"], tf.int32) + 1
        return {**found, "detection_class_names": tf.gather(names, places)}

    def in_pixels(pixels, *proposals):
        return answers.to_pixels(detect, model.preprocess, pixels, *proposals)

    @tf.function(input_signature=[files, *more], autograph=False)
    def in_files(data, *proposals):
        return _in_files(detect, model, data, *proposals)

    def in_examples(examples, *proposals):
        parsed = tf.io.parse_example(examples, {"image/encoded": tf.io.FixedLenFeature([], tf.string)})
        return in_files(parsed["image/encoded"], *proposals)

    def signature(function, dtype, name, shape=()):
        specs = [tf.TensorSpec([None, *shape], dtype, name), *more]
        return tf.function(function, input_signature=specs, autograph=False)

    return {
        "serving_default": signature(in_pixels, tf.uint8, "images", [None, None, 3]),
        "float_images": signature(in_pixels, tf.float32, "images", [None, None, 3]),
        "image_bytes": in_files,
        "tf_example": signature(in_examples, tf.string, "tf_example"),
        "metadata": tf.function(lambda: {"class_names": names[1:], "facts": answers.facts(model)}, input_signature=[]),
    }


def _in_files(detect, model, data, *proposals):
    """Detects in encoded pictures of any sizes: as one batch if the resize rule gives one size, else one by one."""
    with tf.control_dependencies([answers.some(tf.shape(data), "no image is given; the batch's shape is")]):
        numbers = tf.range(tf.size(data))

    def decoded(one, number):
        return image.decode(one, tf.strings.join(["image ", tf.strings.as_string(number)]))

    def seen(one, number):
        pixels = decoded(one, number)
        return model.preprocess(pixels), tf.cast(tf.shape(pixels)[:2], tf.float32)

    def found(one, number, *boxes):
        pixels = decoded(one, number)[None]
        answer = answers.to_pixels(detect, model.preprocess, pixels, *(own[None] for own in boxes))
        return {name: value[0] for name, value in answer.items()}

    if model.resize[0] in image.ONE_SIZE:
        return detect(*_mapped(seen, data, numbers), *proposals)
    return _mapped(found, data, numbers, *proposals)


def _mapped(function, *elements):
    """`tf.map_fn`, with the output shapes inferred from the function."""
    specs = [tf.TensorSpec(element.shape[1:], element.dtype) for element in elements]
    traced = tf.function(function, autograph=False).get_concrete_function(*specs)
    outputs = _specs(traced.structured_outputs)
    return tf.map_fn(lambda given: traced(*given), elements, fn_output_signature=outputs)


def _specs(tensors):
    return tf.nest.map_structure(lambda one: tf.TensorSpec(one.shape, one.dtype), tensors)


def _examples(model):
    """Requests with which a server warms up: signature, and tensors by name."""
    gray = tf.fill([480, 640, 3], tf.constant(128, tf.uint8))
    more = {"proposals": tf.constant([[[0.0, 0.0, 640.0, 480.0]]])} if model.needs_proposals else {}
    yield "serving_default", {"images": gray[None], **more}
    yield "image_bytes", {"image_bytes": tf.io.encode_jpeg(gray)[None], **more}


def _prediction_log(signature, inputs):
    """A `PredictionLog` of TensorFlow Serving's `apis`, written by hand so that its packages are not needed."""
    request = _field(1, _field(3, signature.encode()))
    for name, tensor in inputs.items():
        value = tf.make_tensor_proto(tensor).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, value))  # an entry of the map `inputs`
    return _field(6, _field(1, request))  # PredictionLog.predict_log, PredictLog.request


def _field(number, payload):
    """A field of bytes in the wire format of protocol buffers."""
    size, rest = b"", len(payload)
    while rest > 127:
        size, rest = size + bytes([rest & 127 | 128]), rest >> 7
    return bytes([number << 3 | 2]) + size + bytes([rest]) + payload
