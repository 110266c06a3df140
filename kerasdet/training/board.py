"""TensorBoard: the rows of the log as curves, and a few validation pictures with detections."""

import importlib.util
import pathlib

import numpy as np
import tensorflow as tf

from kerasdet import draw


class Board:
    """Writes events that `tensorboard --logdir RUN` shows.

    Args:
        folder: the run folder.
        examples: number of pictures after every validation.

    Raises:
        ValueError: TensorBoard is not installed; the message has the command.
    """

    def __init__(self, folder, examples=4):
        if importlib.util.find_spec("tensorboard") is None:
            raise ValueError("tensorboard=True needs TensorBoard: pip install 'kerasdet[tensorboard]'.")
        self.writer = tf.summary.create_file_writer(str(pathlib.Path(folder) / "tensorboard"))
        self.examples = examples

    def scalars(self, step, row):
        """Writes a row of numbers."""
        with self.writer.as_default(step):
            for name, value in row.items():
                tf.summary.scalar(name, value)
        self.writer.flush()

    def pictures(self, step, model, dataset):
        """Writes the first pictures of a `Dataset`, each beside its ground truth."""
        with self.writer.as_default(step):
            for record in dataset.records[: self.examples]:
                pixels = record.pixels()
                found = draw.found(pixels, model.detect(pixels), dataset.skeleton)
                pair = draw.beside(draw.truth(record, dataset), found, ("ground truth", "detections"))
                tf.summary.image(f"image {record.id}", np.asarray(pair)[None])
        self.writer.flush()
