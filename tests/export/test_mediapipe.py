"""MediaPipe opens the files as they are. It is no dependency: the test runs where somebody installed it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet.detectors import SSD, ssd
from kerasdet.load import load
from tests.contract import scenes

mediapipe = pytest.importorskip("mediapipe")

TINY = SSD.tiny()
LITE = {**ssd.SSDLITE_V2, "classes": TINY["classes"], "norm": "batch", "resize": ("stretch", 320, 320)}
# Arguments and the side of their picture.
FORMS = {"tiny": (TINY, scenes.SIDE), "SSDLite": (LITE, 320)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_says_what_the_file_says(form, kind, tmp_path):
    """On a picture of the file's size; boxes come in whole pixels, and of boxes upon each other only the best."""
    arguments, side = FORMS[form]
    keras.utils.set_random_seed(5)
    model = SSD(**arguments)
    images, objects = scenes.batch([(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)])
    images |= model.preprocess(images["pixels"])
    objects["boxes"] *= side / scenes.SIDE
    model.compile(keras.optimizers.Adam(3e-3), clip_norm=10.0)
    model.fit(tf.data.Dataset.from_tensors((images, objects)).repeat(), steps_per_epoch=60, verbose=0)
    pixels = np.uint8(images["pixels"][0])
    file, size = tmp_path / "file.tflite", pixels.shape[:2]
    model.export(file, format="litert", kind=kind, size=size, examples=[pixels] if kind == "int8" else ())
    wanted = load(file).detect(pixels, 0.3)

    tasks = mediapipe.tasks
    options = tasks.vision.ObjectDetectorOptions(
        base_options=tasks.BaseOptions(model_asset_path=str(file)), score_threshold=0.3
    )
    picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
    with tasks.vision.ObjectDetector.create_from_options(options) as detector:
        found = detector.detect(picture).detections
    assert size == (side, side) and len(found) >= 2
    for one in found:
        best, box = one.categories[0], one.bounding_box  # others are classes with just the same box
        place = np.argmin(np.abs(wanted["scores"] - best.score))
        assert best.score == pytest.approx(wanted["scores"][place], abs=1e-4)
        assert best.category_name == model.classes[wanted["classes"][place]]
        sides = (box.origin_x, box.origin_y, box.origin_x + box.width, box.origin_y + box.height)
        np.testing.assert_allclose(sides, wanted["boxes"][place], atol=2)
