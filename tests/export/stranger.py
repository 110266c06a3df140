"""Runs exported SavedModels as somebody does who has TensorFlow alone: a companion, which never sees kerasdet.

It is asked for the answers of a `saved_model` to `requests`, a folder: each `.npy` goes as a batch to `serving_default`
or, where it is float32, to `float_images`; the other files, in order of name, go to `image_bytes` and `tf_example` as
one batch. Proposals of a request NAME or of the files, for a model that needs them, lie in `proposals/NAME.npy` or
`proposals/files.npy`. What comes back, or the error, is written into the folder as `answers.npz`, by signature, request
and output.
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf

from tests import companion


def example(data):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))
    return tf.train.Example(features=tf.train.Features(feature={"image/encoded": feature})).SerializeToString()


def answer(saved_model, requests):
    folder = pathlib.Path(requests)
    signatures = tf.saved_model.load(saved_model).signatures
    arrays = {file.stem: np.load(file) for file in sorted(folder.glob("*.npy"))}
    given = [("serving_default" if a.dtype == np.uint8 else "float_images", n, a) for n, a in arrays.items()]
    images = [file for file in sorted(folder.iterdir()) if file.is_file() and file.suffix not in (".npy", ".npz")]
    files = [file.read_bytes() for file in images]
    if files:
        given += [("image_bytes", "files", files), ("tf_example", "files", [example(data) for data in files])]
    answers = {}
    for signature, name, tensor in given:
        (*_, kinds), boxes = signatures[signature].structured_input_signature, folder / "proposals" / f"{name}.npy"
        inputs = {key: tf.constant(np.load(boxes) if key == "proposals" else tensor) for key in kinds}
        try:
            for output, value in signatures[signature](**inputs).items():
                answers[f"{signature}.{name}.{output}"] = value.numpy()
        except tf.errors.InvalidArgumentError as error:
            answers[f"{signature}.{name}.error"] = str(error)
    assert not [module for module in sys.modules if module.startswith("kerasdet")]
    texts = {name: value.astype(str) for name, value in answers.items() if name.endswith("_names")}
    np.savez(folder / "answers.npz", **{**answers, **texts})


if __name__ == "__main__":
    companion.serve(answer)
