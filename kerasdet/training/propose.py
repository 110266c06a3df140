"""Writes the regions that a detector proposes, for another to learn from (Faster R-CNN, section 3.2)."""

import numpy as np
import tensorflow as tf

from kerasdet import images as image
from kerasdet.data import pipeline, proposals


def propose(model, dataset, path, batch_size=4, training=False):
    """Writes a file of proposals of `data.proposals`.

    Args:
        model: a `Detector` with a verb `proposals(outputs, images, training)` that returns [B, R, 4] boxes in network
            pixels, best first, without area where padded.
        dataset: a `Dataset`.
        path: of the file.
        batch_size: images at once.
        training: whether as many proposals a picture as training takes, or as inference.

    Raises:
        ValueError: the detector proposes no regions.
    """
    if not hasattr(model, "proposals"):
        raise ValueError(f"{type(model).__name__} proposes no regions that another stage could learn from.")
    batches = pipeline.load(dataset, model.preprocess, batch_size)

    def one_batch(images, _):
        found = model.proposals(model.network(images), images, training)
        return image.from_frames(found, images["frames"])

    run = tf.function(one_batch, input_signature=batches.element_spec)
    with pipeline.named(dataset):
        rows = np.concatenate([run(*batch).numpy() for batch in batches])[: len(dataset)]
    real = (rows[..., 2:] > rows[..., :2]).all(-1)
    pictures = proposals.by_name(dataset)
    proposals.write(path, {key: own[kept] for key, own, kept in zip(pictures, rows, real, strict=True)})
