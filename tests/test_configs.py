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
    "centernet/coco": ("r18", "r101", "r101_dcn", "dla34", "dla34_pose", "hourglass104"),
    "centernet_triplets/coco": ("hourglass52",),
    "cornernet/coco": ("squeeze",),
    "efficientdet/coco": ("d7x", "lite0"),
    "efficientdet/voc": ("d3",),
    "faster_rcnn/coco": ("r101_fpn,3x", "r50_c4", "r50_fpn_gn", "r50_fpn_2021"),
    "faster_rcnn/r18_shapes": ("alternating",),
    "faster_rcnn/voc": ("zf", "r50", "r101"),
    "rcnn/voc": ("vgg16",),
    "sppnet/voc": ("one",),
    "yolov1/voc": ("fast",),
    "yolov2/coco": ("tiny",),
    "yolov2/voc": ("tiny",),
    "yolov3/coco": ("spp", "tiny"),
    "rfcn/voc": ("r50",),
    "mask_rcnn/coco": ("r101_fpn,3x", "r50_c4", "r50_fpn_gn", "r50_fpn_2021", "keypoint"),
}
# Arguments of `fit` that are no part of a published recipe. Data and model have their own parts of the config; where
# the run lies, how it is watched, how it fits a machine and its seed are up to whoever runs it. Stages, and what trains
# in them, are stated where a paper has them. A recipe's length is `steps`, never `minutes`.
NOT_OF_A_RECIPE = {
    "model", "train", "validation", "run", "init_from", "stages", "terms", "freeze", "minutes", "learning_rate_for",
    "accumulate", "evaluate_every", "checkpoint_every", "keep", "patience", "seed", "resume", "data_service",
    "tensorboard", "callbacks", "evaluate",
}  # fmt: skip
CALLS = [(name, ()) for name in CONFIGS] + [(name, (form,)) for name, forms in FORMS.items() for form in forms]


def joined(value):
    return ":".join(value) if isinstance(value, tuple) else value


def module(name):
    return importlib.import_module(f"kerasdet.configs.{name.replace('/', '.')}")


@pytest.mark.parametrize("name, form", CALLS, ids=joined)
def test_config_arguments_exist(name, form):
    config = module(name).get_config(*form).to_dict()
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


RECIPES = [(name, form) for name, form in CALLS if "recipe" in module(name).__doc__]


@pytest.mark.parametrize("name, form", RECIPES, ids=joined)
def test_a_recipe_states_every_number(name, form):
    """No default of `fit`, which suits small data sets, may slip into a recipe."""
    stated = set(module(name).get_config(*form).train)
    assert not inspect.signature(training.fit).parameters.keys() - NOT_OF_A_RECIPE - stated


def test_published_configs_are_recipes():
    published = {"fast_rcnn/vgg16_voc", "faster_rcnn/coco", "faster_rcnn/voc", "mask_rcnn/coco"}
    published |= {"retinanet/r50_fpn_coco", "retinanet/r101_fpn_coco", "ssd/vgg16_voc", "ssd/vgg16_coco"}
    published |= {"efficientdet/coco", "refinedet/vgg16_voc", "refinedet/vgg16_coco"}
    published |= {"yolov1/voc", "yolov2/voc", "yolov2/coco", "yolov3/voc", "yolov3/coco"}
    published |= {"centernet/coco", "cornernet/coco", "rcnn/voc", "sppnet/voc"}
    published |= {"rfcn/voc", "rfcn/coco", "iou_net/r50_fpn_coco", "softer_nms/r50_fpn_coco"}
    published |= {"cornernet_saccade/coco", "extremenet/coco", "centernet_triplets/coco"}
    assert {name for name, _ in RECIPES} == published


def test_the_numbers_of_the_releases():
    """What differs between the frameworks: SSD's solver has no warm-up; Caffe and Detectron double the rate of biases,
    Detectron2 does not and lets them decay."""
    ssd, fast = (module(f"{room}/vgg16_voc").get_config() for room in ("ssd", "fast_rcnn"))
    assert (ssd.train.ema, ssd.train.warmup, ssd.train.clip_norm) == (None, 0, None)
    assert ssd.data.train.difficult == "object" and "difficult" not in ssd.data.validation
    forms = {"vgg16": True, "zf": True, "r50": False, "r101": False}
    voc = [(module("faster_rcnn/voc").get_config(form), decays) for form, decays in forms.items()]
    for config, decays in ((ssd, False), (fast, False), (module("ssd/vgg16_coco").get_config(), False), *voc):
        assert config.train.rates.to_dict() == {"*bias": 2.0} and config.train.decay_biases == decays
    for config in (ssd, fast, *(config for config, _ in voc)):
        assert config.evaluate.voc
    for room in ("faster_rcnn", "mask_rcnn"):
        train = module(f"{room}/coco").get_config("r101_fpn,3x").train
        assert (train.rates, train.decay_biases, train.warmup, train.warmup_from) == (None, True, 1000, 0.001)
        assert (train.steps, train.drops, train.learning_rate) == (270_000, (210_000, 250_000), 0.02)
    for name in ("r50_fpn_coco", "r101_fpn_coco"):
        train = module(f"retinanet/{name}").get_config().train
        assert (train.rates.to_dict(), train.decay_biases, train.warmup_from) == ({"*bias": 2.0}, False, 1 / 3)
    assert train.sizes == (640, 672, 704, 736, 768, 800) and train.sizes_every == 1


def test_a_folder_by_its_flag_reaches_all_parts():
    config = module("mask_rcnn/coco").get_config("keypoint")
    config.data.folder = "elsewhere"
    assert config.data.train.images == "elsewhere/train2017"
    config = module("fast_rcnn/raccoon").get_config()
    config.data.folder, config.data.proposals = "elsewhere", "mine.npz"
    for part in (config.data.train, config.data.validation):
        assert (part.path, part.proposals, part.max_proposals) == ("elsewhere", "mine.npz", 1000)


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
