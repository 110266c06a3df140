"""What configs share: data sets, and schedules that state every number of a training."""

from ml_collections import ConfigDict


def splits(folder, train="train", validation="val", test=None, proposals=None, max_proposals=2000):
    """The parts of one folder; `--config.data.folder` and `--config.data.proposals` name others.

    Args:
        folder: where the data set lies.
        train, validation, test: names of its splits, as `data.read` takes them; None for no such part.
        proposals: None, or the file of proposals for all parts.
        max_proposals: at most so many of them per picture.

    Returns:
        A `ConfigDict`: the `data` of a config.
    """
    data = ConfigDict({"folder": folder})
    shared = {"path": data.get_ref("folder")}
    if proposals is not None:
        data.proposals = proposals
        shared.update(proposals=data.get_ref("proposals"), max_proposals=max_proposals)
    for part, split in (("train", train), ("validation", validation), ("test", test)):
        if split is not None:
            data[part] = {**shared, "split": split}
    return data


def coco():
    """COCO 2017, its boxes and masks."""
    return splits("data/coco", "train2017", "val2017")


def coco_keypoints():
    """COCO 2017, its persons with 17 keypoints."""
    data = ConfigDict({"folder": "data/coco"})
    folder = data.get_ref("folder")
    for part, split in (("train", "train2017"), ("validation", "val2017")):
        data[part] = {"path": folder + f"/annotations/person_keypoints_{split}.json", "images": folder + f"/{split}"}
    return data


def voc(proposals=None, max_proposals=2000):
    """Pascal VOC 2007 and 2012 in one folder: both `trainval`, scored on 2007's `test`."""
    return splits("data/voc0712", "trainval", "test", proposals=proposals, max_proposals=max_proposals)


def bccd():
    """BCCD, blood cells under the microscope: three classes, scored on `val` while it trains."""
    return splits("data/bccd", "trainval", "val", "test")


def shapes():
    """The drawn shapes, which need no download."""
    return {"train": {"path": "shapes", "split": "train"}, "validation": {"path": "shapes", "split": "val"}}


def photos():
    """A folder of one's own. One without splits is split: this share of its photos validates."""
    return {"folder": "photos", "share": 0.2, "seed": 0}


# What the releases of YOLOv2 and YOLOv3 share: a burn-in by the fourth power, and the augmentation of their cfgs.
DARKNET = {
    "batch_size": 64,
    "learning_rate": 1e-3,
    "weight_decay": 5e-4,
    "warmup": 1000,
    "warmup_from": 0.0,
    "warmup_power": 4.0,
    "sizes": tuple(range(320, 609, 32)),
    "sizes_every": 10,
    "transforms": (("jitter", 0.3), ("distort", 0.1, 1.5, 1.5), ("flip", 0.5)),
}


def sgd(steps, batch_size, learning_rate, drops, weight_decay, evaluate_every, transforms, **numbers):
    """The papers' schedule: the rate falls to a tenth at every drop; no gradient is clipped, no weights are averaged.

    Args:
        steps, batch_size, learning_rate, drops, weight_decay, evaluate_every, transforms: see `training.fit`.
        numbers: what differs from the numbers below.

    Returns:
        A dict, the `train` of a config.
    """
    return {
        "steps": steps,
        "batch_size": batch_size,
        "optimizer": "sgd",
        "learning_rate": learning_rate,
        "momentum": 0.9,
        "weight_decay": weight_decay,
        "decay_biases": False,
        "rates": None,
        "warmup": 0,
        "warmup_from": 0.001,
        "warmup_power": 1.0,
        "drops": drops,
        "drop_factor": 0.1,
        "clip_norm": None,
        "ema": None,
        "transforms": transforms,
        "sizes": (),
        "sizes_every": 10,
        "repeat_rare": None,
        "evaluate_every": evaluate_every,
        **numbers,
    }


def adamw(batch_size, warmup, ema, evaluate_every, transforms, **numbers):
    """The schedule for a small data set: a short warm-up, then a cosine to 0, with averaged weights.

    Args:
        batch_size, warmup, ema, evaluate_every, transforms: see `training.fit`.
        numbers: `steps` or `minutes`, and what differs from the numbers below.

    Returns:
        A dict, the `train` of a config.
    """
    return {
        "batch_size": batch_size,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
        "warmup": warmup,
        "clip_norm": 10.0,
        "ema": ema,
        "evaluate_every": evaluate_every,
        "transforms": transforms,
        **numbers,
    }
