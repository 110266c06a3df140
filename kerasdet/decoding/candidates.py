"""The few anchors and classes worth decoding."""

import tensorflow as tf


def top(logits, counts, per_level):
    """Takes the highest scoring (anchor, class) pairs of every level (RetinaNet, section 4).

    An anchor among the best pairs is among the best anchors by their best class, so two small searches find the same
    pairs, in the same order, as one over all pairs.

    Args:
        logits: [B, A, K] float32.
        counts: anchors of every level, ints or scalar tensors, A in all.
        per_level: pairs a level at most.

    Returns:
        logits [B, N] float32, anchors [B, N] int32 and classes [B, N] int32, level by level in falling order.
    """
    classes = logits.shape[-1]
    chosen, start = [], 0
    best_class = tf.reduce_max(logits, axis=-1)
    for count in counts:
        few = tf.minimum(per_level, count)
        rows = tf.math.top_k(best_class[:, start : start + count], few).indices
        rows = start + tf.sort(rows, axis=-1)  # index order, so that ties fall as in one search
        pairs = tf.reshape(tf.gather(logits, rows, batch_dims=1), [tf.shape(logits)[0], -1])
        values, flat = tf.math.top_k(pairs, tf.minimum(per_level, few * classes))
        chosen.append((values, tf.gather(rows, flat // classes, batch_dims=1), flat % classes))
        start += count
    return tuple(tf.concat(parts, axis=1) for parts in zip(*chosen, strict=True))


def top_of_classes(scores, count):
    """Takes the highest scoring anchors of every class (SSD's release: the 400 best of each).

    Args:
        scores: [B, A, K] float32.
        count: anchors a class at most.

    Returns:
        scores [B, N, K] float32 and anchors [B, N, K] int32, N = min(count, A), each class in falling order.
    """
    by_class = tf.transpose(scores, [0, 2, 1])
    values, anchors = tf.math.top_k(by_class, tf.minimum(count, tf.shape(by_class)[2]))
    return tf.transpose(values, [0, 2, 1]), tf.transpose(anchors, [0, 2, 1])
