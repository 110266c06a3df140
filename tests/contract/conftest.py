"""What the suite makes once for a detector, and the processes that stand by."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.companion import Companion
from tests.contract import scenes
from tests.contract.kinds import KINDS


@pytest.fixture(
    scope="session",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(f"contract-{name}")) for name in sorted(KINDS)],
)
def name(request):
    """Workers share the suite out by detectors."""
    return request.param


@pytest.fixture(scope="session")
def make(name):
    """A function from changes of its `tiny()` arguments to a detector."""
    kind = KINDS[name]
    return lambda **changes: kind(**{**kind.tiny(), **changes})


@pytest.fixture(scope="session")
def model(make):
    """Untrained, for tests that change nothing of it."""
    keras.utils.set_random_seed(1)
    return make()


@pytest.fixture(scope="session")
def batch(model):
    """`scenes.batch` of the detector's size, with proposals if it needs them."""
    return functools.partial(scenes.batch, proposals=model.needs_proposals, size=scenes.size(model))


@pytest.fixture(scope="session")
def again(model):
    """A detector from the other one's configuration."""
    keras.utils.set_random_seed(2)
    return type(model).from_config(model.get_config())


@pytest.fixture(scope="session")
def lesson(again, batch):
    """Trains a detector on one image.

    Returns:
        Dict of its loss `before` and `after`, in training mode, the detections `found` by the outputs of that mode, and
        the `objects`.
    """
    images, objects = batch([(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)])
    before = scenes.total(again, images, objects)
    again.compile(keras.optimizers.Adam(3e-3), clip_norm=10.0)
    data = tf.data.Dataset.from_tensors((images, objects)).repeat()
    # Some need more steps than others; and where regions are drawn, or the loss is a likelihood, that of a step says
    # little.
    for _ in range(6):
        again.fit(data, steps_per_epoch=40, epochs=1, verbose=0)
        outputs = again.network(images, training=True)
        after = float(tf.add_n(list(again.loss_terms(outputs, objects, images).values())))
        found = again.detections(outputs, images)
        if after < 0.1 * before and min(scenes.scores(found, objects)) > 0.3:
            break
    return {"before": before, "after": after, "found": found, "objects": objects}


@pytest.fixture(scope="session")
def trained(again, lesson):
    """The detector of the lesson, whose scores differ by more than rounding; for tests that change nothing of it."""
    return again


@pytest.fixture(scope="session")
def proposals(model):
    """A function from a picture's height and width to what a detector takes beside it: a list of proposals, or none."""
    return lambda height, width: [scenes.grid(height, width)] if model.needs_proposals else []


@pytest.fixture(scope="session")
def picture():
    """A function from a height and width to noise with the lesson's objects, as far as they fit, uint8."""

    def made(height, width):
        pixels = np.random.default_rng(height).integers(60, 90, [height, width, 3], np.uint8)
        pixels[20:70, 12:60] = 40, 90, 230
        pixels[8:40, 50:90] = 230, 40, 60
        return pixels

    return made


@pytest.fixture(scope="session")
def fresh():
    """A process that loads `.keras` files, see `tests.contract.fresh`."""
    companion = Companion("tests.contract.fresh")
    yield companion
    companion.close()


@pytest.fixture(scope="session")
def replicas():
    """A process with two devices, see `tests.contract.replicas`."""
    companion = Companion("tests.contract.replicas")
    yield companion
    companion.close()
