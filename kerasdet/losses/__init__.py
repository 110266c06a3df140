"""Losses: elementwise functions of tensors; the detector that uses them sums and normalizes.

Half precision is computed in float32; float64 stays float64.
"""

import numpy as np
import tensorflow as tf


def widen(*tensors):
    """Casts tensors to the first one's dtype, or to float32 if that is narrower."""
    tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
    dtype = np.promote_types(tensors[0].dtype.as_numpy_dtype, np.float32)
    return [tf.cast(tensor, dtype) for tensor in tensors]
