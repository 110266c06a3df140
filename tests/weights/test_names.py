"""Names of weights: complete, and the same whatever the process has made before."""

import keras
import pytest

from kerasdet.detectors import DETECTORS, RetinaNet
from kerasdet.weights import names


@pytest.fixture(scope="module")
def tiny():
    return RetinaNet(**RetinaNet.tiny())


@pytest.mark.parametrize("kind", sorted(DETECTORS))
def test_every_weight_has_a_name_and_class_heads_exist(kind):
    model = DETECTORS[kind](**DETECTORS[kind].tiny())
    found = names.weights(model)
    assert [id(v) for v in found.values()] == [id(v) for v in model.weights]
    for head in model.class_heads:
        inside = [variable for name, variable in found.items() if name.rpartition("/")[0] == head]
        assert inside and all((one.shape[-1] - model.class_rest) % len(model.outputs_of(head)) == 0 for one in inside)


def test_names_do_not_depend_on_the_layers_made_before(tiny):
    [keras.layers.Conv2D(1, 1) for _ in range(7)]
    again = RetinaNet(**RetinaNet.tiny())
    assert [v.path for v in again.weights] != [v.path for v in tiny.weights]
    assert list(names.weights(again)) == list(names.weights(tiny))
    assert "backbone/stages/0/0/conv2/norm/gamma" in names.weights(tiny)


def test_names_in_a_functional_model():
    """Names that were given stay; those that Keras made up are counted within the model."""

    def functional():
        x = inputs = keras.Input([4, 4, 3])
        for name in ("stem", None, None):
            x = keras.layers.Conv2D(2, 1, name=name)(x)
        return keras.Model(inputs, x)

    functional()
    found = list(names.weights(functional()))
    assert found == [f"{layer}/{kind}" for layer in ("stem", "conv2d", "conv2d_1") for kind in ("kernel", "bias")]


def test_a_pattern_that_matches_nothing_is_one_line():
    with pytest.raises(ValueError, match=r"freeze: 'bakbone/\*' matches no weight .* parts are a/\*, b/\*"):
        names.chosen(["a/kernel", "b/kernel"], ["bakbone/*"], "freeze")
