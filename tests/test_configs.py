"""Every shipped config: its arguments are those of its detector and of `fit`, its transforms and resize rule exist."""

import configparser
import importlib
import inspect
import pathlib

import pytest

from kerasdet import configs, data, images, training
from kerasdet.data import parts, transforms
from kerasdet.detectors import DETECTORS
from kerasdet.detectors.detector import Detector
from kerasdet.evaluation.evaluator import Evaluator

ROOT = pathlib.Path(next(iter(configs.__path__)))
CONFIGS = sorted(str(p.relative_to(ROOT).with_suffix("")) for p in ROOT.glob("*/*.py") if p.stem != "__init__")


# What may stand behind the colon.
FORMS = {
    "faster_rcnn/coco": ("r101_fpn,3x", "r50_c4", "r50_fpn_gn", "r50_fpn_2021"),
    "faster_rcnn/r18_shapes": ("alternating",),
    "faster_rcnn/voc": ("zf", "r50", "r101"),
    "mask_rcnn/coco": ("r101_fpn,3x", "r50_c4", "r50_fpn_gn", "r50_fpn_2021", "keypoint"),
}
CALLS = [(name, ()) for name in CONFIGS] + [(name, (form,)) for name, forms in FORMS.items() for form in forms]


@pytest.mark.parametrize("name, form", CALLS, ids=lambda value: ":".join(value) if isinstance(value, tuple) else value)
def test_config_arguments_exist(name, form):
    config = importlib.import_module(f"kerasdet.configs.{name.replace('/', '.')}").get_config(*form).to_dict()
    model = dict(config["model"])
    kind = DETECTORS[model.pop("name")]
    papers = [one for one in kind.__mro__ if issubclass(one, Detector)]
    known = {name for one in papers for name in inspect.signature(one.__init__).parameters}
    assert set(model) <= known, set(model) - known
    if "resize" in model:
        images.check_rule(model["resize"])
    train = config["train"]
    inspect.signature(training.fit).bind("model", "train", "validation", "run", **train)
    inspect.signature(Evaluator).bind("model", "dataset", **config.get("evaluate", {}))
    for transform, *settings in train.get("transforms", ()):
        transforms._checked(transform, settings, draw=object())
    if "train" in config["data"]:
        inspect.signature(data.read).bind(**config["data"]["train"])
        inspect.signature(data.read).bind(**config["data"]["validation"])
    else:
        inspect.signature(parts.parts).bind(**config["data"])


def test_all_configs_are_found():
    assert {"retinanet/own_data", "ssdlite/own_data", "ssd_mobilenet/own_data", "ssd/vgg16_voc"} <= set(CONFIGS)


def test_all_configs_are_in_the_wheel():
    """Folders of configs and parts of the package are listed one by one."""
    root = ROOT.resolve().parent
    if not (root / "setup.cfg").is_file():
        pytest.skip("the package was installed")
    settings = configparser.ConfigParser()
    settings.read(root / "setup.cfg")
    listed = set(settings["options"]["packages"].split())
    for home in ("configs", "kerasdet"):
        for file in (root / home).rglob("__init__.py"):
            name = ".".join(file.parent.relative_to(root).parts)
            assert (f"kerasdet.{name}" if home == "configs" else name) in listed
