"""Two steps on one and on two replicas give the same weights: a companion, since it makes logical devices.

SGD with momentum and clipping, synchronized norms, a global batch whose objects are shared out unevenly. The steps run
eagerly, because two steps do not pay for their three traces; those of one detector run as `fit` traces them.
"""

import functools
import inspect

import keras
import numpy as np
import tensorflow as tf

from tests import companion
from tests.contract import scenes
from tests.contract.kinds import KINDS

NORMS = {"norm", "neck_norm", "pyramid_norm", "mask_norm", "extra_norm"}
TRACED = "RetinaNet"


class Trial:
    """A detector that is trained for two steps, always from the same start."""

    def __init__(self, kind, strategy):
        arguments = {name for base in kind.__mro__ for name in inspect.signature(base.__init__).parameters}
        norms = dict.fromkeys(NORMS & arguments, "sync")
        if "convs" in arguments:  # of a head on regions; one that levels share takes no norm with statistics
            norms |= {"convs": 1, "head_norm": "sync"}
        keras.utils.set_random_seed(7)
        with strategy.scope():
            self.model = kind(**{**kind.tiny(), **norms})
            self.model.compile(keras.optimizers.SGD(0.05, momentum=0.9), clip_norm=1.0)
            self.model.optimizer.build(self.model.trainable_variables)
        self.variables = [*self.model.variables, *self.model.optimizer.variables]
        self.start = [v.numpy() for v in self.variables]

    def run(self, turned=False):
        """Weights and logs after two steps, on the batch as it is or turned round."""
        for variable, value in zip(self.variables, self.start, strict=True):
            variable.assign(value)
        pictures = [(20, 30, 70, 75, 1), (5, 5, 30, 40, 0)], [], [(50, 8, 90, 40, 1)], [(8, 50, 60, 90, 0)]
        batch = scenes.batch(*pictures, proposals=self.model.needs_proposals, size=scenes.size(self.model))
        batch = tf.nest.map_structure(lambda entry: entry[::-1], batch) if turned else batch
        data = tf.data.Dataset.from_tensor_slices(batch).batch(4).repeat()
        history = self.model.fit(data, steps_per_epoch=2, epochs=1, verbose=0)
        return [v.numpy() for v in self.model.variables], history.history


def distance(a, b):
    """The greatest difference of two lists of weights; of large ones, such as variances, relative to the largest."""
    return max(float(np.abs(x - y).max() / max(1.0, np.abs(x).max())) for x, y in zip(a, b, strict=True))


@functools.cache
def strategies():
    """One replica and two, made once: another mirrored strategy would number its collectives from 0 again."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.OneDeviceStrategy("CPU:0"), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def answer(name):
    """Trains a detector both ways: how far the weights lie apart, and by rounding alone, if that was tried."""
    kind = KINDS[name]
    single, mirrored = strategies()
    tf.config.run_functions_eagerly(name != TRACED)
    alone = Trial(kind, single)
    one, log = alone.run()
    two, other = Trial(kind, mirrored).run()
    apart, rounding = distance(one, two), 0.0
    if apart > 1e-5:
        # Sums in another order alone move some further: one device that takes the batch from behind says how far.
        rounding = distance(one, alone.run(turned=True)[0])
    assert apart <= max(1e-5, 5 * rounding) and rounding < 1e-3, f"{name}: {apart} apart, by rounding {rounding}"
    for term in log:
        np.testing.assert_allclose(log[term], other[term], rtol=max(1e-4, 5 * rounding))
    return apart, rounding


if __name__ == "__main__":
    companion.serve(answer)
