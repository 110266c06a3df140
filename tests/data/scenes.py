"""Twelve pictures of odd sizes with whole-pixel boxes, written as every format that is read."""

import csv
import dataclasses
import json
import os

import numpy as np
from PIL import Image

from kerasdet import data
from kerasdet.data import shapes

BACKGROUND, CROWDED = 3, 5


def truth(folder):
    """The pictures as PNG files in a folder, and what is in them; picture 3 is empty, in picture 5 is a crowd."""
    os.makedirs(folder, exist_ok=True)
    records = []
    for index in range(12):
        record = shapes.picture("val", index)
        height, width = 251 - 7 * index, 199 + 3 * index
        kept = (record.boxes[:, 2] <= width) & (record.boxes[:, 3] <= height) & (index != BACKGROUND)
        path = os.path.join(folder, f"{index:02d}.png")
        Image.fromarray(record.image[:height, :width]).save(path)
        boxes = record.boxes[kept]
        crowds = np.zeros(len(boxes), bool)
        crowds[:1] = index == CROWDED
        records.append(
            data.Record(
                id=index,
                image=path,
                height=height,
                width=width,
                boxes=boxes,
                classes=record.classes[kept],
                crowds=crowds,
                areas=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
            )
        )
    used = sorted({int(number) for record in records for number in record.classes})
    for record in records:
        record.classes = np.searchsorted(used, record.classes).astype(np.int32)
    assert records[CROWDED].crowds.any() and len(used) > 3
    return data.Dataset("scenes", [shapes.CLASSES[number] for number in used], records)


def objects(dataset):
    """(record, box, class name, crowd) of every object."""
    for record in dataset.records:
        for box, number, crowd in zip(record.boxes, record.classes, record.crowds, strict=True):
            yield record, [int(side) for side in box], dataset.classes[number], bool(crowd)


def coco(dataset, path):
    rows = [(r, [x, y, z - x, w - y], name, crowd) for r, (x, y, z, w), name, crowd in objects(dataset)]
    content = {
        "images": [
            {"id": r.id, "file_name": os.path.basename(r.image), "height": r.height, "width": r.width}
            for r in dataset.records
        ],
        "categories": [{"id": 10 + i, "name": name} for i, name in enumerate(dataset.classes)],
        "annotations": [
            {
                "id": i,
                "image_id": r.id,
                "category_id": 10 + dataset.classes.index(name),
                "bbox": box,
                "iscrowd": int(crowd),
            }
            for i, (r, box, name, crowd) in enumerate(rows)
        ],
    }
    with open(path, "w") as file:
        json.dump(content, file)


def voc(dataset, folder):
    for name in ("Annotations", "ImageSets/Main"):
        os.makedirs(os.path.join(folder, name))
    os.symlink(os.path.dirname(dataset.records[0].image), os.path.join(folder, "JPEGImages"))
    pages = {stem(r): f"<size><width>{r.width}</width><height>{r.height}</height></size>" for r in dataset.records}
    for record, (x1, y1, x2, y2), name, crowd in objects(dataset):
        pages[stem(record)] += (
            f"<object><name>{name}</name><difficult>{int(crowd)}</difficult><bndbox><xmin>{x1 + 1}</xmin>"
            f"<ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        )
    for name, page in pages.items():
        with open(os.path.join(folder, "Annotations", f"{name}.xml"), "w") as file:
            file.write(f"<annotation>{page}</annotation>")
    with open(os.path.join(folder, "ImageSets/Main/val.txt"), "w") as file:
        file.writelines(f"{name}  1\n" for name in pages)


def yolo(dataset, folder):
    os.makedirs(os.path.join(folder, "labels"))
    os.symlink(os.path.dirname(dataset.records[0].image), os.path.join(folder, "images"))
    for record, (x1, y1, x2, y2), name, _ in objects(dataset):
        shares = (x1 + x2) / 2 / record.width, (y1 + y2) / 2 / record.height
        shares += (x2 - x1) / record.width, (y2 - y1) / record.height
        with open(os.path.join(folder, "labels", f"{stem(record)}.txt"), "a") as file:
            file.write(" ".join(map(repr, (dataset.classes.index(name), *shares))) + "\n")
    with open(os.path.join(folder, "data.yaml"), "w") as file:
        file.write(f"val: images\nnames: {list(dataset.classes)}\n")


def table(dataset, path):
    rows = [["filename", "xmin", "ymin", "xmax", "ymax", "label", "crowd"]]
    for record in dataset.records:
        name = os.path.basename(record.image)
        found = list(objects(dataclasses.replace(dataset, records=[record])))
        rows += [[name, *box, label, int(crowd)] for _, box, label, crowd in found] or [[name] + [""] * 6]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def tfds_set(dataset, folder):
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(),
        "image/id": tfds.features.Scalar(np.int64),
        "image/filename": tfds.features.Text(),
        "objects": tfds.features.Sequence({
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(names=list(dataset.classes)),
            "is_crowd": np.bool_,
        }),
    }  # fmt: skip

    def example(record):
        found = [
            {
                "bbox": tfds.features.BBox(
                    ymin=y1 / record.height, xmin=x1 / record.width, ymax=y2 / record.height, xmax=x2 / record.width
                ),
                "label": name,
                "is_crowd": crowd,
            }
            for _, (x1, y1, x2, y2), name, crowd in objects(dataclasses.replace(dataset, records=[record]))
        ]
        name = os.path.basename(record.image)
        return {"image": record.image, "image/id": record.id, "image/filename": name, "objects": found}

    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny_scenes",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": [(record.id, example(record)) for record in dataset.records]},
        data_dir=folder,
        disable_shuffling=True,
    )


def stem(record):
    return os.path.splitext(os.path.basename(record.image))[0]
