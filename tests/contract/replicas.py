"""Two steps on one and on two replicas give the same weights: a script, since it makes logical devices.

SGD with momentum and clipping, synchronized norms, a global batch whose objects are shared out unevenly.
"""

import json

import keras
import numpy as np
import tensorflow as tf

from kerasdet.detectors import DETECTORS
from tests.contract import scenes

NORMS = {"norm", "pyramid_norm", "mask_norm", "extra_norm"}


def trained(kind, strategy, turned=False):
    """A detector's weights and logs after two steps, on the batch as it is or turned round."""
    arguments = set(kind(**kind.tiny()).get_config())
    norms = dict.fromkeys(NORMS & arguments, "sync")
    if "convs" in arguments:  # of a head on regions; one that levels share takes no norm with statistics
        norms |= {"convs": 1, "head_norm": "sync"}
    keras.utils.set_random_seed(5)
    with strategy.scope():
        model = kind(**{**kind.tiny(), **norms})
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), clip_norm=1.0)
    pictures = [(20, 30, 70, 75, 1), (5, 5, 30, 40, 0)], [], [(50, 8, 90, 40, 1)], [(8, 50, 60, 90, 0)]
    batch = scenes.batch(*pictures, proposals=kind.needs_proposals)
    batch = tf.nest.map_structure(lambda entry: entry[::-1], batch) if turned else batch
    data = tf.data.Dataset.from_tensor_slices(batch).batch(4).repeat()
    history = model.fit(data, steps_per_epoch=2, epochs=1, verbose=0)
    return [v.numpy() for v in model.variables], history.history


def distance(a, b):
    """The greatest difference of two lists of weights."""
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True))


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])  # another would count its collectives anew
    single = tf.distribute.OneDeviceStrategy("CPU:0")
    found = {}
    for name, kind in DETECTORS.items():
        one, log = trained(kind, single)
        two, other = trained(kind, mirrored)
        found[name] = apart, rounding = distance(one, two), 0.0
        if apart > 1e-5:
            # Sums in another order alone move some further: one device that takes the batch from behind says how far.
            rounding = distance(one, trained(kind, single, turned=True)[0])
            found[name] = apart, rounding
        assert apart <= max(1e-5, 5 * rounding) and rounding < 5e-4, f"{name}: {apart} apart, by rounding {rounding}"
        for term in log:
            np.testing.assert_allclose(log[term], other[term], rtol=1e-4)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
