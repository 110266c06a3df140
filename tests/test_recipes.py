"""What a training starts from: `--weights` counts for a config too, and a download that fails is one line."""

import keras
import pytest
from kerasdet.configs.yolov3_tiny import raccoon
from ml_collections import ConfigDict

from kerasdet import recipes
from kerasdet.detectors import RetinaNet
from kerasdet.weights import presets, released


@pytest.fixture
def offline(monkeypatch):
    def fail(name, origin, **kwargs):
        raise Exception(f"URL fetch failure on {origin}: None -- [Errno -2] Name or service not known")

    monkeypatch.setattr(keras.utils, "get_file", fail)


def test_a_preset_by_flag_comes_before_the_config_s(tmp_path, capsys):
    presets.save(RetinaNet(**RetinaNet.tiny()), tmp_path)
    config = recipes.config(raccoon.get_config(), weights=str(tmp_path))
    assert config.train.init_from == str(tmp_path)
    assert f"the detector starts from {tmp_path}" in capsys.readouterr().out


def test_a_file_by_flag_is_the_backbone_s(tmp_path):
    given = ConfigDict({"model": {"name": "YOLOv3"}, "train": {}})
    assert recipes.config(given, weights="darknet53.conv.74").model.backbone_weights == "darknet53.conv.74"


def test_a_config_alone_stays_as_it_is():
    given = raccoon.get_config()
    assert recipes.config(raccoon.get_config()).to_dict() == given.to_dict()


def test_a_failed_download_is_one_line_that_says_what_to_do(offline):
    with pytest.raises(ConnectionError, match="^yolov3_tiny_coco: URL fetch failure.*--file=FILE.*--weights.$"):
        released.fetch("yolov3_tiny_coco")


def test_a_folder_trains_without_what_cannot_be_had(offline, capsys):
    config = recipes.config(folder="photos", model="yolov3_tiny")
    assert "init_from" not in config.train and config.model.backbone_weights is None
    said = capsys.readouterr().out
    assert "yolov3_tiny_coco: URL fetch failure" in said and "random numbers" in said
