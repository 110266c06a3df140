"""Imports a released model or file, a network of darknet or a checkpoint of TensorFlow 1 as a preset, for every tool.

    python -m tools.import_weights ssd_mobilenet_v1_coco --out=presets/ssd_mobilenet_v1_coco
    python -m tools.import_weights yolov3_tiny_coco --file=yolov3-tiny.weights
    python -m tools.import_weights --file=fasterrcnn_resnet50_fpn_coco-258fb6c6.pth --out=presets/faster
    python -m tools.import_weights --cfg=yolov3.cfg --file=yolov3.weights --names=coco.names --out=presets/yolov3
    python -m tools.import_weights --checkpoint=efficientdet-d0 --out=presets/d0_coco
    python -m tools.import_weights --checkpoint=ssdlite_mobilenet_v2_coco_2018_05_09/model.ckpt --out=presets/ssdlite

Without --file, a released file is downloaded once. `python -m tools.models` lists the released models. A file alone, of
torch, safetensors or TensorFlow, is known by the names of its tensors.
"""

import pathlib

from absl import flags

from kerasdet import command

FILE = flags.DEFINE_string("file", None, "The released file, if it is already on this machine; or that of a --cfg.")
OUT = flags.DEFINE_string("out", None, "Folder for the preset; by default presets/ and the model's name.")
CFG = flags.DEFINE_string("cfg", None, "A cfg of darknet, whose weights are --file.")
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "A checkpoint of EfficientDet or of TensorFlow's Object Detection API, its folder or its name."
)
FORM = flags.DEFINE_string(
    "form", None, "EfficientDet's form, such as d7; by default as its folder or its tensors say."
)
AVERAGES = flags.DEFINE_bool(
    "averages", True, "Whether to take a checkpoint's moving averages, as published scores do."
)
NAMES = flags.DEFINE_string("names", None, "Names of the classes, a line each; by default COCO's 80 or VOC's 20.")
RESIZE = flags.DEFINE_enum(
    "resize",
    None,
    ("letterbox", "stretch", "squeeze"),
    "How a cfg's pictures get its size; by default as its program does it.",
)


def main(arguments):
    from kerasdet.detectors.detector import Detector
    from kerasdet.weights import darknet, presets, recognize, released

    if CHECKPOINT.value is not None:
        known = None if NAMES.value is None else pathlib.Path(NAMES.value).read_text(encoding="utf-8").splitlines()
        plain = recognize.load_checkpoint(CHECKPOINT.value, known, FORM.value, AVERAGES.value)
        origin = "google/automl" if plain.detector == "EfficientDet" else "TensorFlow Object Detection API"
        name, facts = pathlib.Path(CHECKPOINT.value).name, {"source": f"{origin}: {CHECKPOINT.value}"}
    elif CFG.value is not None:
        if FILE.value is None:
            raise ValueError("--cfg names a network of darknet: give its weights by --file.")
        plain = darknet.load(CFG.value, FILE.value, NAMES.value, RESIZE.value)
        name, facts = pathlib.Path(FILE.value).stem, {"source": f"{CFG.value}, {FILE.value}"}
    elif len(arguments) < 2:
        if FILE.value is None:
            raise ValueError("name a released model, which `kerasdet models` lists, or give a file by --file.")
        known = None if NAMES.value is None else pathlib.Path(NAMES.value).read_text(encoding="utf-8").splitlines()
        plain = presets.load(FILE.value, known)
        name, facts = pathlib.Path(FILE.value).stem, {"source": FILE.value}
    else:
        name = arguments[1]
        plain, entry = released.load(name, FILE.value), released.RELEASED[name]
        facts = {"published": entry.published, "license": entry.license, "source": f"{entry.source}; {entry.url}"}
    model, out = Detector.from_preset(plain), OUT.value or f"presets/{name}"
    model.save_preset(out, **facts)
    print(
        f"{type(model).__name__}, {len(model.classes)} classes, {model.count_params():,} parameters: written to {out}"
    )


if __name__ == "__main__":
    command.script(main)
