"""Presets: a trained detector as a folder of two plain files, or a released one by its name. Loading runs no code.

`preset.json` holds the detector's class and arguments, its class names, what was published about it and the SHA-256 of
`weights.npz`, which holds every weight by the attributes that lead to it.
"""

import json
import pathlib

import numpy as np

from kerasdet.weights import files, recognize, released
from kerasdet.weights import names as weight_names
from kerasdet.weights.plain import PlainDetector

FACTS = ("published", "license", "source")


def save(model, folder, published=None, license=None, source=None):
    """Writes a preset.

    Args:
        model: a `Detector`.
        folder: made where it does not exist.
        published: dict of what was measured, such as {"AP": 0.251, "data": "COCO test-dev"}.
        license: of the weights.
        source: where they come from.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "weights.npz", **{name: np.asarray(v) for name, v in weight_names.weights(model).items()})
    arguments = model.get_config()
    content = {
        "detector": type(model).__name__,
        "arguments": {k: v for k, v in arguments.items() if k not in ("classes", "name")},
        "classes": arguments["classes"],
        "published": published,
        "license": license,
        "source": source,
        "sha256": files.sha256(folder / "weights.npz"),
    }
    (folder / "preset.json").write_text(json.dumps(content, indent=2) + "\n")


# Endings of files that `recognize` reads.
FILES = (".pth", ".pt", ".pkl", ".safetensors", ".pb", ".gz")


def is_preset(preset):
    """Whether this is the name of a released model, the path of a preset's folder or of a released file of tensors."""
    path = pathlib.Path(preset)
    return str(preset) in released.RELEASED or path.suffix in FILES or (path / "preset.json").is_file()


def load(preset, names=None):
    """Reads a preset.

    Args:
        preset: a preset's folder, a key of `released.RELEASED`, which is downloaded once, or a file of `recognize`.
        names: of such a file's classes, see `recognize.load`.

    Returns:
        A `PlainDetector`, of which `Detector.from_preset` makes the detector.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a file is damaged.
    """
    if pathlib.Path(preset).suffix in FILES:
        known = None if names else released.named(preset)
        return recognize.load(preset, names) if known is None else released.load(known, preset)
    if names is not None:
        raise ValueError(f"{preset}: it has names of classes of its own; other classes are given as `classes`.")
    if str(preset) in released.RELEASED:
        return released.load(str(preset))
    folder = pathlib.Path(preset)
    content, file = read(folder), folder / "weights.npz"
    if not file.is_file():
        raise FileNotFoundError(f"{file}: the preset has no weights.")
    digest = files.sha256(file)
    if digest != content["sha256"]:
        raise ValueError(f"{file}: its SHA-256 is {digest}, {folder}/preset.json says {content['sha256']}.")
    return PlainDetector(content["detector"], content["arguments"], content["classes"], files.read(file), str(file))


def read(folder):
    """Reads a preset's description.

    Args:
        folder: of the preset.

    Returns:
        Dict of `detector`, `arguments`, `classes`, `published`, `license`, `source` and `sha256`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no description of a detector.
    """
    file = pathlib.Path(folder) / "preset.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder}: no preset there, and no released model of this name; `kerasdet models` lists them all."
        )
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file}: no JSON ({error}).") from None
    needed = ("detector", "arguments", "classes", "sha256", *FACTS)
    missing = [key for key in needed if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"{file}: '{missing[0]}' is missing; a preset needs {', '.join(needed)}.")
    return content
