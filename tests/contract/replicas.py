"""Two steps on one and on two replicas give the same weights: a script, since it makes logical devices.

SGD with momentum and clipping, synchronized norms, a global batch whose objects are shared out unevenly.
"""

import json

import keras
import numpy as np
import tensorflow as tf

from kerasdet.detectors import DETECTORS
from tests.contract import scenes

# Rounding differs between one sum and two, by 1e-6 after a step. In the next a maximum or a hard negative that is all
# but tied may go to another cell, whose weights then move by a little more: hence a wider bound.
BOUNDS = (1e-5, 5e-4)


def trained(kind, strategy):
    """A detector's weights after each of two steps, and the logs of both."""
    keras.utils.set_random_seed(5)
    with strategy.scope():
        model = kind(**{**kind.tiny(), "norm": "sync"})
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), clip_norm=1.0)
    pictures = [(20, 30, 70, 75, 1), (5, 5, 30, 40, 0)], [], [(50, 8, 90, 40, 1)], [(8, 50, 60, 90, 0)]
    batch = scenes.batch(*pictures, proposals=kind.needs_proposals)
    data = tf.data.Dataset.from_tensor_slices(batch).batch(4).repeat()
    weights, logs = [], []
    for _ in BOUNDS:
        logs.append(model.fit(data, steps_per_epoch=1, epochs=1, verbose=0).history)
        weights.append([v.numpy() for v in model.variables])
    return weights, logs


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])  # another would count its collectives anew
    for kind in DETECTORS.values():
        weights, logs = trained(kind, tf.distribute.OneDeviceStrategy("CPU:0"))
        others, other_logs = trained(kind, mirrored)
        for step, bound in enumerate(BOUNDS):
            for a, b in zip(weights[step], others[step], strict=True):
                np.testing.assert_allclose(a, b, rtol=bound, atol=bound, err_msg=f"{kind.__name__}, step {step + 1}")
            for name, value in logs[step].items():
                np.testing.assert_allclose(value, other_logs[step][name], rtol=1e-4)
    print(json.dumps(list(DETECTORS)))


if __name__ == "__main__":
    main()
