"""Functions of many rows in the memory of a few: an R-CNN's network on 2000 regions, a head on all of a map's cells."""

import tensorflow as tf


def in_blocks(function, x, size, signature=None):
    """Runs a function over blocks of rows one after another, so that only one block's activations are held.

    It is meant for inference: a tape would hold the activations of all blocks.

    Args:
        function: from [size, ...] to a tensor or a dict of tensors [size, ...], of shapes that are known but for the
            rows; what it makes of a row must not depend on other rows. In a graph, layers in it are built before.
        x: [N, ...], with any N; or a list or dict of such tensors, which the function takes likewise.
        size: rows of a block; the last block is filled up with the last row.
        signature: tensor specs [size, ...] of what the function returns; without it a trace of its own finds them.

    Returns:
        What the function returns for all rows, [N, ...]; N is known where it was.
    """
    first = tf.nest.flatten(x)[0]
    known, count = first.shape[0], tf.shape(first)[0]

    def block(start):
        rows = tf.minimum(start + tf.range(size), count - 1)
        return function(tf.nest.map_structure(lambda one: tf.gather(one, rows), x))

    if tf.executing_eagerly() and known:  # nothing to trace: layers in the function may be new
        parts = [block(start) for start in range(0, known, size)]
        return tf.nest.map_structure(lambda *blocks: tf.concat(blocks, axis=0)[:known], *parts)
    if signature is None:
        # Traced once more for the types and shapes of what it returns.
        traced = tf.function(block, autograph=False).get_concrete_function(tf.TensorSpec([], tf.int32))
        signature = tf.nest.map_structure(
            lambda one: tf.TensorSpec([size, *one.shape[1:]], one.dtype), traced.structured_outputs
        )
    starts = tf.range(0, count if known is None else known, size)
    # One at a time: by default ten blocks would run, and be held, at once.
    found = tf.map_fn(block, starts, fn_output_signature=signature, parallel_iterations=1)

    def joined(blocks):
        rows = tf.reshape(blocks, [-1, *blocks.shape[2:]])[:count]
        return tf.ensure_shape(rows, [known, *rows.shape[1:]])

    return tf.nest.map_structure(joined, found)
