"""Normalized pixels: values, zeros outside the windows, dtypes."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.layers import Pixels

# RGB means and deviations in 0...255, from torchvision's ImageNet presets and `keras.applications`' preprocess_input.
EXPECTED = {
    "torch": (np.multiply([0.485, 0.456, 0.406], 255), np.multiply([0.229, 0.224, 0.225], 255)),
    "caffe": ([123.68, 116.779, 103.939], [1, 1, 1]),
    "tf": ([127.5] * 3, [127.5] * 3),
    "unit": ([0] * 3, [255] * 3),
}


def draw(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def whole(pixels):
    return np.float32([[0, 0, pixels.shape[2], pixels.shape[1]]] * len(pixels))


@pytest.mark.parametrize("statistics", EXPECTED)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_values(statistics, dtype):
    pixels = draw(2, 5, 7, 3)
    mean, deviation = EXPECTED[statistics]
    normal = Pixels(statistics)({"pixels": pixels.astype(dtype), "windows": whole(pixels)})
    np.testing.assert_allclose(normal, (pixels - np.array(mean)) / deviation, atol=1e-5)


def test_zero_outside_the_windows():
    pixels = draw(3, 6, 8, 3)
    windows = np.float32([[0, 0, 8, 6], [0, 0, 5, 4], [2, 1, 7, 3]])
    images = {"pixels": pixels, "windows": windows}
    normal = Pixels("torch")(images).numpy()
    unmasked = Pixels("torch")({**images, "windows": whole(pixels)}).numpy()
    for got, full, (x1, y1, x2, y2) in zip(normal, unmasked, windows.astype(int), strict=True):
        expected = np.zeros_like(full)
        expected[y1:y2, x1:x2] = full[y1:y2, x1:x2]
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("statistics", EXPECTED)
@pytest.mark.parametrize("outside", [127.5, 0, (255, 0, 10.5)])
def test_a_color_outside_the_windows(statistics, outside):
    """As if the picture had been painted before the normalization: darknet's gray, CornerNet's (0 - mean) / std."""
    pixels, (mean, deviation) = draw(2, 6, 8, 3), EXPECTED[statistics]
    windows = np.float32([[0, 0, 5, 4], [2, 1, 7, 3]])
    normal = Pixels(statistics, outside)({"pixels": pixels, "windows": windows}).numpy()
    for got, picture, (x1, y1, x2, y2) in zip(normal, pixels, windows.astype(int), strict=True):
        painted = np.full(picture.shape, outside, float)
        painted[y1:y2, x1:x2] = picture[y1:y2, x1:x2]
        np.testing.assert_allclose(got, (painted - np.array(mean)) / deviation, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_colors_in_tflite():
    layer, pixels = Pixels("torch", 127.5), draw(1, 6, 8, 3)
    signature = [tf.TensorSpec([1, 6, 8, 3], tf.uint8), tf.TensorSpec([1, 4])]
    graph = tf.function(lambda pixels, windows: layer({"pixels": pixels, "windows": windows}), signature)
    file = tf.lite.TFLiteConverter.from_concrete_functions([graph.get_concrete_function()]).convert()
    interpreter, windows = tf.lite.Interpreter(model_content=file), np.float32([[2, 1, 7, 3]])
    interpreter.allocate_tensors()
    for place in interpreter.get_input_details():
        interpreter.set_tensor(place["index"], pixels if place["dtype"] == np.uint8 else windows)
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(got, layer({"pixels": pixels, "windows": windows}), atol=1e-6)


def test_a_window_without_area_is_black():
    pixels = draw(1, 4, 4, 3)
    assert not np.any(Pixels("torch")({"pixels": pixels, "windows": np.zeros([1, 4], np.float32)}))


def test_uint8_is_float32():
    pixels, layer = draw(1, 5, 5, 3), Pixels("torch")
    one = layer({"pixels": tf.constant(pixels), "windows": whole(pixels)})
    other = layer({"pixels": tf.constant(pixels, tf.float32), "windows": whole(pixels)})
    np.testing.assert_array_equal(one, other)


def test_half_precision_is_cast_once_at_the_end():
    pixels = draw(1, 9, 9, 3)
    images = {"pixels": pixels, "windows": whole(pixels)}
    half = Pixels("torch", dtype="mixed_bfloat16")(images)
    assert half.dtype == tf.bfloat16
    np.testing.assert_array_equal(half, tf.cast(Pixels("torch")(images), tf.bfloat16))
    windows = np.float32([[0, 0, 1025, 1]])  # bfloat16 has no 1,025
    white = np.full([1, 1, 1030, 3], 255, np.uint8)
    wide = Pixels("unit", dtype="mixed_bfloat16")({"pixels": white, "windows": windows})
    assert np.count_nonzero(wide) == 3 * 1025
