"""Fully connected layers, plain or factorized."""

import keras

from kerasdet.layers.start import Start


@keras.saving.register_keras_serializable("kerasdet")
class FC(Start, keras.layers.Dense):
    """A fully connected layer, or two of lower rank in its place (Fast R-CNN, Girshick, ICCV 2015, section 3.1).

    With a rank, the layer `inner` comes first, without an activation. It has a bias as in the release's compressed
    network (the paper has none there); the truncated SVD of `weights.svd` leaves the bias at 0.

    Args:
        units: number of outputs.
        rank: None, or the number of units between the two layers.
        kwargs: arguments of `keras.layers.Dense`, such as `activation`.
    """

    def __init__(self, units, rank=None, **kwargs):
        super().__init__(units, **kwargs)
        self.rank = rank
        self.inner = None if rank is None else keras.layers.Dense(rank, dtype=self.dtype_policy)

    def build(self, shape):
        if self.inner is None:
            super().build(shape)
        else:
            self.inner.build(shape)
            super().build((*shape[:-1], self.rank))
            self.input_spec = None  # Dense expects the input of its kernel, which is the output of `inner`

    def call(self, x, training=None):
        return super().call(x if self.inner is None else self.inner(x), training=training)

    def get_config(self):
        return {**super().get_config(), "rank": self.rank}
