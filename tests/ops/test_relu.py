"""ReLU under a tape in an export: the same numbers, on TFLite's builtin operators alone."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from kerasdet import ops

RNG = np.random.default_rng(0)
FIRST, SECOND = (tf.constant(RNG.normal(size=shape), tf.float32) for shape in ((6, 16), (16, 1)))


def refined(x, relu):
    """Two steps uphill of a small network, as IoU-Net refines boxes."""
    for _ in range(2):
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = tf.sigmoid(tf.matmul(relu(tf.matmul(x, FIRST)), SECOND))
        x = x + 0.5 * tape.gradient(score, x)
    return x


def converted(function, rows):
    """A TFLite file on builtin operators, traced as exports are."""
    with ops.portable(lite=True):
        traced = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec([rows, 6], tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()


@pytest.mark.parametrize("rows", [5, None])
def test_a_tape_in_a_tflite_file(rows):
    x = np.float32(RNG.normal(size=[5, 6]))
    interpreter = Interpreter(model_content=converted(lambda x: refined(x, ops.relu), rows))
    (given,), (asked,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(given["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    expected = refined(tf.constant(x), tf.nn.relu)
    np.testing.assert_allclose(interpreter.get_tensor(asked["index"]), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected - x).max() > 0.05


def test_tensorflows_own_does_not_convert():
    """Else this operator could go."""
    with pytest.raises(Exception, match="ReluGrad"):
        converted(lambda x: refined(x, tf.nn.relu), 5)


@pytest.mark.parametrize("lite", [False, True])
def test_values_and_gradients(lite):
    """max(x, 0), and 1 where x is positive: nothing at 0, as in TensorFlow's."""
    x = tf.constant([[-2.0, -0.0, 0.0, 0.5, 3.0]])
    with ops.portable(lite=lite), tf.GradientTape() as tape:
        tape.watch(x)
        y = ops.relu(x)
    np.testing.assert_array_equal(y, [[0, 0, 0, 0.5, 3]])
    np.testing.assert_array_equal(tape.gradient(y, x, tf.constant([[1.0, 2, 3, 4, 5]])), [[0, 0, 0, 4, 5]])
    assert ops.relu(tf.constant([-1.0, 2.0], tf.bfloat16)).dtype == tf.bfloat16
