"""Runs an exported SavedModel as somebody does who has TensorFlow alone: a script, which never sees kerasdet.

python -m tests.export.stranger SAVED_MODEL REQUESTS

REQUESTS is a folder: each `.npy` goes as a batch to `serving_default` or, where it is float32, to `float_images`; the
other files, in order of name, go to `image_bytes` and `tf_example` as one batch. What comes back, or the error, is
written into the folder as `answers.npz`, by signature, request and output.
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf


def example(data):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))
    return tf.train.Example(features=tf.train.Features(feature={"image/encoded": feature})).SerializeToString()


def main():
    folder = pathlib.Path(sys.argv[2])
    signatures = tf.saved_model.load(sys.argv[1]).signatures
    arrays = {file.stem: np.load(file) for file in sorted(folder.glob("*.npy"))}
    requests = [("serving_default" if a.dtype == np.uint8 else "float_images", n, a) for n, a in arrays.items()]
    files = [file.read_bytes() for file in sorted(folder.iterdir()) if file.suffix not in (".npy", ".npz")]
    if files:
        requests += [("image_bytes", "files", files), ("tf_example", "files", [example(data) for data in files])]
    answers = {}
    for signature, name, tensor in requests:
        try:
            for output, value in signatures[signature](tf.constant(tensor)).items():
                answers[f"{signature}.{name}.{output}"] = value.numpy()
        except tf.errors.InvalidArgumentError as error:
            answers[f"{signature}.{name}.error"] = str(error)
    assert not [module for module in sys.modules if module.startswith("kerasdet")]
    texts = {name: value.astype(str) for name, value in answers.items() if name.endswith("_names")}
    np.savez(folder / "answers.npz", **{**answers, **texts})


if __name__ == "__main__":
    main()
