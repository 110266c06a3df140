"""Functions of rows, block by block: the same as of all at once, in the memory of one block."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from kerasdet import layers

SIZE, WIDTH = 8, 64


@pytest.fixture(scope="module")
def head():
    """A hidden layer that is much wider than what comes in and goes out."""
    keras.utils.set_random_seed(0)
    wide, out = keras.layers.Dense(WIDTH, activation="relu"), keras.layers.Dense(3)
    out(wide(tf.zeros([1, 5])))
    return lambda x: out(wide(x))


def rows(count):
    return np.float32(np.random.default_rng(count).normal(size=[count, 5]))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 24, 29])
def test_the_same_as_all_at_once(head, count, known):
    x = tf.constant(rows(count))
    specs = [tf.TensorSpec([count if known else None, 5])]
    graph = tf.function(lambda x: layers.in_blocks(head, x, SIZE), input_signature=specs).get_concrete_function()
    assert graph.outputs[0].shape.as_list() == [count if known else None, 3]
    np.testing.assert_allclose(graph(x), head(x), atol=1e-5)
    np.testing.assert_allclose(layers.in_blocks(head, x, SIZE), head(x), atol=1e-5)


def test_several_inputs_and_outputs(head):
    x, number = tf.constant(rows(21)), tf.range(21)

    def function(given):
        return {"head": head(given["x"]), "double": 2 * given["number"]}

    found = layers.in_blocks(function, {"x": x, "number": number}, SIZE)
    np.testing.assert_allclose(found["head"], head(x), atol=1e-5)
    np.testing.assert_array_equal(found["double"], 2 * np.arange(21))
    assert found["double"].dtype == tf.int32


def graphs(graph):
    """A graph and those of its functions, such as a loop's body."""
    return [graph, *(inner.graph for inner in graph._functions.values() if hasattr(inner, "graph"))]


def largest(graph):
    """Numbers of the largest tensor of known shape of a graph and its functions."""
    shapes = [one.shape for part in graphs(graph) for op in part.get_operations() for one in op.outputs]
    return max(shape.num_elements() for shape in shapes if shape.is_fully_defined())


def test_no_tensor_is_as_large_as_all_rows_activations(head):
    """Of 1000 rows: the hidden layer of all would have 64,000 numbers, that of a block has 512."""
    spec = tf.TensorSpec([1000, 5])
    whole = tf.function(head).get_concrete_function(spec).graph
    graph = tf.function(lambda x: layers.in_blocks(head, x, SIZE)).get_concrete_function(spec).graph
    assert largest(whole) == 1000 * WIDTH and largest(graph) == 1000 * 5
    hidden = [
        one.shape for part in graphs(graph) for op in part.get_operations() for one in op.outputs
        if op.type == "Relu"
    ]  # fmt: skip
    assert hidden and all(shape == [SIZE, WIDTH] for shape in hidden)
    loops = [op for part in graphs(graph) for op in part.get_operations() if "While" in op.type]
    assert [op.get_attr("parallel_iterations") for op in loops] == [1]


def test_in_a_saved_model(head, tmp_path):
    module = tf.Module()
    module.call = tf.function(
        lambda x: {"y": layers.in_blocks(head, x, SIZE)}, input_signature=[tf.TensorSpec([None, 5])]
    )
    module.layers = [cell.cell_contents for cell in head.__closure__]
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.call)
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    np.testing.assert_allclose(serve(x=tf.constant(rows(21)))["y"], head(rows(21)), atol=1e-5)


@pytest.mark.parametrize("count", [21, None])
def test_in_a_tflite_file(head, count):
    """On builtin operators alone, for a known number of rows and for any."""
    graph = tf.function(lambda x: layers.in_blocks(head, x, SIZE)).get_concrete_function(tf.TensorSpec([count, 5]))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph], graph)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = Interpreter(model_content=converter.convert())
    (given,), (asked,) = interpreter.get_input_details(), interpreter.get_output_details()
    for number in (21,) if count else (21, 8, 3):
        interpreter.resize_tensor_input(given["index"], [number, 5])
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], rows(number))
        interpreter.invoke()
        np.testing.assert_allclose(interpreter.get_tensor(asked["index"]), head(rows(number)), atol=1e-5)
