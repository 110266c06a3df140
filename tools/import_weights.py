"""Imports a released model as a preset folder, which every tool accepts.

    python -m tools.import_weights ssd_mobilenet_v1_coco --out=presets/ssd_mobilenet_v1_coco
    python -m tools.import_weights ssd_mobilenet_v1_coco --file=detect.tflite --out=presets/ssd_mobilenet_v1_coco

Without --file, the file is downloaded once. `python -m tools.import_weights` lists the released models.
"""

from absl import flags

from kerasdet import command

FILE = flags.DEFINE_string("file", None, "The released file, if it is already on this machine.")
OUT = flags.DEFINE_string("out", None, "Folder for the preset; by default presets/ and the model's name.")


def main(arguments):
    from kerasdet.detectors.detector import Detector
    from kerasdet.weights import released

    if len(arguments) < 2:
        for name, entry in released.RELEASED.items():
            print(f"{name}: {entry.source}\n  {entry.published}\n  license: {entry.license}\n  {entry.url}")
        return
    name = arguments[1]
    model = Detector.from_preset(released.load(name, FILE.value))
    entry, out = released.RELEASED[name], OUT.value or f"presets/{name}"
    model.save_preset(out, published=entry.published, license=entry.license, source=f"{entry.source}; {entry.url}")
    print(
        f"{type(model).__name__}, {len(model.classes)} classes, {model.count_params():,} parameters: written to {out}"
    )


if __name__ == "__main__":
    command.script(main)
