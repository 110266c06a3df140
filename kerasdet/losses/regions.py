"""The losses of regions: class and box (Fast R-CNN, Girshick, ICCV 2015, section 2.3), mask and keypoints."""

import tensorflow as tf

from kerasdet.losses import boxes as box_losses


def multi_task(logits, deltas, regions, kind, beta, weights):
    """Cross-entropy over background and classes, and the box loss of the true class (Fast R-CNN, equation 1).

    Args:
        logits: [B, N, 1 + K] float32, background first.
        deltas: [B, N, 1 + K, 4] float32, or [B, N, 1, 4] if classes share a box.
        regions: `targets.sample.Regions`.
        kind, beta, weights: as in `losses.boxes.coded`.

    Returns:
        The class losses and the box losses, [B, N] each; both are 0 for invalid regions, box losses also for
        background.
    """
    losses = box_losses.coded(regions.boxes, of_class(deltas, regions), regions.targets, kind, beta, weights)
    return entropy(logits, regions), tf.where(regions.positive, losses, 0.0)


def entropy(logits, regions):
    """The class part of `multi_task`; arguments and result as in `multi_task`."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(regions.classes + 1, logits)
    return tf.where(regions.valid, losses, 0.0)


def of_class(values, regions):
    """What is predicted for each region's own class.

    Args:
        values: [B, N, 1 + K, ...], the background first, or [B, N, 1, ...] if classes share it.
        regions: `targets.sample.Regions`.

    Returns:
        [B, N, ...].
    """
    return values[:, :, 0] if values.shape[2] == 1 else tf.gather(values, regions.classes + 1, batch_dims=2)


def mask(logits, targets, kinds, scores="sigmoid"):
    """The mask loss (Mask R-CNN, He et al., ICCV 2017, section 3 and table 2b).

    Args:
        logits: [N, S, S, 1 + K] float32, background first.
        targets: [N, S, S] float32 in 0...1.
        kinds: [N] int32: the channel of each region's class.
        scores: "sigmoid": only the channel of the region's class; "softmax": over background and classes.

    Returns:
        [N] losses, averaged over the cells.
    """
    true_class_logits = tf.gather(tf.transpose(logits, [0, 3, 1, 2]), kinds, batch_dims=1)
    if scores == "sigmoid":
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, true_class_logits), axis=[1, 2])
    # Cross-entropy with soft targets: `targets` of the class, the rest of the background.
    total = tf.reduce_logsumexp(logits, axis=-1)
    return tf.reduce_mean(total - targets * true_class_logits - (1 - targets) * logits[..., 0], axis=[1, 2])


def keypoints(logits, cells):
    """Cross-entropy over all cells of a heat map, exactly one of which is right (Mask R-CNN, section 5).

    Args:
        logits: [N, S, S, P] float32.
        cells: [N, P] int32: row * S + column.

    Returns:
        [N, P] losses.
    """
    count, size, _, points = logits.shape
    flat = tf.reshape(tf.transpose(logits, [0, 3, 1, 2]), [-1, points, size * size])
    return tf.nn.sparse_softmax_cross_entropy_with_logits(cells, flat)
