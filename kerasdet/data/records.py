"""Sharded TFRecord files: written from any data set, in parallel and restartable; pictures are read when needed."""

import glob
import hashlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from kerasdet.data import examples, files, objects, tfrecord
from kerasdet.data.dataset import Dataset
from kerasdet.data.folder import is_hidden

MANIFEST = "manifest.json"
_LABELS, _MARK = "label_map.pbtxt", "fingerprint.txt"
# About 50 MB of photos: the most that each worker loses when the program is killed.
_SHARD_IMAGES = 250


def write(dataset, folder, shards=None, workers=4):
    """Writes a data set as shards with a manifest. Image files are copied byte for byte.

    A shard gets its final name when it is complete, so after a kill the same call continues with the missing shards.

    Args:
        dataset: a `Dataset`.
        folder: folder for one split, empty or with shards of the same data set.
        shards: number of files; by default one per 250 images.
        workers: number of threads; each holds one picture at a time.

    Raises:
        ValueError: the data set is empty, or the folder holds shards of another one.
    """
    if not len(dataset):
        raise ValueError(f"{dataset.name} holds no images.")
    folder = os.fspath(folder)
    shards = min(shards or -(-len(dataset) // _SHARD_IMAGES), len(dataset))
    os.makedirs(folder, exist_ok=True)
    _claim(folder, _fingerprint(dataset, shards))
    parts = np.array_split(np.arange(len(dataset)), shards)
    names = [f"records-{number:05d}-of-{shards:05d}.tfrecord" for number in range(shards)]
    with (
        tqdm(total=len(dataset), unit="image", desc=folder, mininterval=1) as progress,
        ThreadPoolExecutor(workers) as pool,
    ):
        jobs = [
            pool.submit(_write_shard, dataset, part, os.path.join(folder, name), progress)
            for part, name in zip(parts, names, strict=True)
        ]
        try:
            hashes = [job.result() for job in jobs]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    items = [
        f"item {{\n  id: {number}\n  name: {json.dumps(name, ensure_ascii=False)}\n}}\n"
        for number, name in enumerate(dataset.classes, 1)
    ]
    _replace(os.path.join(folder, _LABELS), "".join(items))
    manifest = {
        "name": dataset.name,
        "classes": dataset.classes,
        "category_ids": dataset.category_ids,
        "keypoints": dataset.keypoints,
        "notes": dataset.notes,
        "images": len(dataset),
        "objects": sum(len(record.boxes) for record in dataset.records),
        "shards": [
            {"file": name, "images": len(part), "bytes": os.path.getsize(os.path.join(folder, name)), "sha256": code}
            for name, part, code in zip(names, parts, hashes, strict=True)
        ],
    }
    _replace(os.path.join(folder, MANIFEST), json.dumps(manifest, indent=1, ensure_ascii=False))


def read(folder, split=None, classes=None, verify=False):
    """Reads shards written by `write` or made for the TF Object Detection API.

    Args:
        folder: folder with a manifest, or with files named `*.tfrecord*` or `*.record*`.
        split: a subfolder, or the beginning of the names of its shards; None takes all.
        classes: names in the order of the class ids; by default the manifest's, those of a `*.pbtxt` label map, or all
            `image/object/class/text`, sorted.
        verify: compare every shard's SHA-256 with the manifest; otherwise only its size.

    Returns:
        `Dataset` whose pictures are `Encoded`.

    Raises:
        ValueError: a shard or record is faulty, which the message names; or no classes are known.
        FileNotFoundError: shards are missing.
    """
    folder = os.fspath(folder)
    if split is not None and os.path.isdir(os.path.join(folder, split)):
        folder, split = os.path.join(folder, split), None
    manifest = _manifest(folder, verify)
    if manifest:
        if split is not None:
            raise ValueError(f"{folder} holds one split; split={split!r} is no folder in it.")
        shards = [os.path.join(folder, shard["file"]) for shard in manifest["shards"]]
    else:
        shards = shards_of(folder, split)
    found = []
    for shard in shards:
        found += tfrecord.examples(shard, examples.PICTURE, examples.NAME, examples.READ)
        if any(image is None for _, image in found):
            raise ValueError(f"{shard} has examples without {examples.PICTURE}.")
    name_of = {} if manifest else examples.label_map(folder)
    requested = classes
    names = requested or manifest.get("classes") or list(name_of.values()) or _texts(found)
    classes, numbers, ignored = objects.numbered(names, folder)
    stated = [examples.size(values) for values, _ in found]
    sizes = stated if manifest else files.upright_sizes([image for _, image in found], stated)

    dataset = Dataset(
        name=manifest.get("name") or " ".join(filter(None, (os.path.basename(os.path.abspath(folder)), split))),
        classes=classes,
        records=[],
        category_ids=()
        if requested
        else manifest.get("category_ids") or [number for number in name_of if name_of[number] in classes],
        keypoints=tuple(manifest.get("keypoints", ())),
        notes=manifest.get("notes", []) + ignored,
    )
    masked = any(examples.has_masks(values) for values, _ in found)
    for image_id, (values, image), size, said in zip(_ids(found), found, sizes, stated, strict=True):
        names = examples.names(values, name_of)
        unknown = [name for name in names if name not in numbers]
        if unknown:
            raise ValueError(f"{image}: an object is of class {unknown[0]!r}, which is none of {tuple(numbers)}.")
        masked = masked and (examples.has_masks(values) or not names)
        objects.add(
            dataset,
            image_id,
            image,
            size,
            boxes=examples.boxes(values, *size),
            numbers=[numbers[name] for name in names],
            place=lambda i, image=image: f"{image}: object {i + 1}",
            crowds=examples.crowds(values, len(names)),
            areas=values[examples.AREA] if len(values.get(examples.AREA, ())) else None,
            segments=examples.segments(values) if masked else None,
            keypoints=examples.keypoints(values, len(names), len(dataset.keypoints)) if dataset.keypoints else None,
            stated_size=said,
        )
    if not masked:
        for record in dataset.records:
            record.segments = None
    return objects.finished(dataset, folder)


def splits(folder):
    """Names of the subfolders with shards, or else the beginnings of the names of a folder's shards."""
    manifests = glob.glob(f"*/{MANIFEST}", root_dir=folder)
    if manifests or os.path.exists(os.path.join(folder, MANIFEST)):
        return sorted(map(os.path.dirname, manifests))
    rooms = [name for name in sorted(os.listdir(folder)) if not is_hidden(name) and _shards(os.path.join(folder, name))]
    if rooms and not _shards(folder):
        return rooms
    names = {re.split(r"[-_.]", os.path.basename(path))[0] for path in shards_of(folder)}
    return sorted(names) if len(names) > 1 else []


def shards_of(folder, split=None):
    """Paths of the shards in a folder, sorted.

    Raises:
        FileNotFoundError: there are none.
    """
    found = [path for path in _shards(folder) if os.path.basename(path).startswith(split or "")]
    if not found:
        raise FileNotFoundError(f"{folder} holds no shards {split or ''}*.tfrecord or {split or ''}*.record.")
    return found


def _shards(folder):
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    names = [name for name in names if re.search(r"\.(tf)?records?(-\d+-of-\d+)?$", name) and not is_hidden(name)]
    return [os.path.join(folder, name) for name in names]


def _claim(folder, fingerprint):
    """Marks the folder as this data set's, or refuses."""
    path = os.path.join(folder, _MARK)
    if os.path.exists(path) and files.text(path).strip() != fingerprint:
        raise ValueError(f"{folder} holds shards of another data set or a different number; choose an empty folder.")
    if not os.path.exists(path) and glob.glob(os.path.join(folder, "*.tfrecord")):
        raise ValueError(f"{folder} holds shards of another program; choose an empty folder.")
    _replace(path, fingerprint)


def _fingerprint(dataset, shards):
    """A hash of every image, box and name that will be written."""
    code = hashlib.sha256(repr((dataset.name, dataset.classes, dataset.category_ids, shards)).encode())
    for record in dataset.records:
        state = os.stat(record.image) if isinstance(record.image, str) else None
        image = (record.image, state.st_size, state.st_mtime_ns) if state else record.image
        code.update(repr((record.id, None if isinstance(image, np.ndarray) else image)).encode())
        arrays = [record.boxes, record.classes, record.crowds, record.areas, record.keypoints, record.image]
        for array in arrays:
            code.update(array.tobytes() if isinstance(array, np.ndarray) else b"")
        code.update(json.dumps(record.segments).encode())
    return code.hexdigest()


def _write_shard(dataset, part, path, progress):
    """Writes a shard if it does not exist; returns its SHA-256."""
    if os.path.exists(path):
        progress.update(len(part))
    else:
        with tf.io.TFRecordWriter(f"{path}.part") as writer:
            for index in part:
                writer.write(examples.encode(dataset, dataset.records[index]).SerializeToString())
                progress.update()
        os.replace(f"{path}.part", path)
    return files.sha256(path)


def _manifest(folder, verify):
    """The manifest of a folder, checked against its shards; empty if there is none."""
    path = os.path.join(folder, MANIFEST)
    if not os.path.exists(path):
        if os.path.exists(os.path.join(folder, _MARK)):
            raise ValueError(f"{folder} has no {MANIFEST}: writing was cut off; run it again to continue.")
        return {}
    manifest = json.loads(files.text(path))
    paths = [os.path.join(folder, shard["file"]) for shard in manifest["shards"]]
    files.require(paths, path)
    for shard, path in zip(manifest["shards"], paths, strict=True):
        size = os.path.getsize(path)
        if size != shard["bytes"]:
            raise ValueError(f"{path} has {size} bytes, in {MANIFEST} {shard['bytes']}: copy it again.")
        if verify and files.sha256(path) != shard["sha256"]:
            raise ValueError(f"{path} has another SHA-256 than in {MANIFEST}: copy it again.")
    return manifest


def _texts(found):
    """All class names that examples hold as text, sorted."""
    return sorted({name for values, _ in found for name in examples.names(values, {})})


def _ids(found):
    """The source ids if they are unique integers of 0 or more, else positions."""
    ids = [b"".join(values.get(examples.SOURCE, ())) for values, _ in found]
    usable = all(i.isdigit() for i in ids) and len({int(i) for i in ids}) == len(ids)
    return [int(i) for i in ids] if usable else list(range(len(ids)))


def _replace(path, text):
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.part", path)
