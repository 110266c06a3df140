"""The skeleton in docs/add-a-detector.md, as a reader copies it: it learns a picture and comes back from its file."""

import pathlib
import re

import keras
import numpy as np
import tensorflow as tf

from tests.contract import scenes

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "add-a-detector.md"


def test_the_skeleton_is_a_detector(tmp_path):
    (text,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    named = {"__name__": __name__}
    exec(compile(text, str(PAGE), "exec"), named)
    keras.utils.set_random_seed(2)
    model = named["Paper"](**named["Paper"].tiny())
    images, objects = scenes.batch([(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)])
    model.compile(keras.optimizers.Adam(3e-3), clip_norm=10.0)
    losses = model.fit(tf.data.Dataset.from_tensors((images, objects)).repeat(30), verbose=0).history["loss"]
    after = model.train_on_batch(images, objects, return_dict=True)["loss"]
    assert after < 0.3 * losses[0], (losses, after)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    pixels = images["pixels"][0].numpy()
    found, wanted = (one.detect(pixels, above=0.0) for one in (again, model))
    assert type(again) is named["Paper"] and len(wanted["scores"])
    np.testing.assert_array_equal(found["boxes"], wanted["boxes"])
