"""A synthetic data set: six shapes that differ only in their outline, drawn in memory within seconds.

It needs no download, its ground truth is exact, and it is not trivial: objects measure 20 to 160 pixels, have any
rotation, occlude each other, and are textured like the background.
"""

import colorsys

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as rle

from kerasdet.data.dataset import Dataset, Record

CLASSES = ("circle", "crescent", "cross", "square", "star", "triangle")
KEYPOINTS = ("center", "tip")
COUNTS = {"train": 2000, "val": 200}
SIDE = 256
SMALLEST, LARGEST = 20, 160
MOST_OBJECTS = 8
MOST_OVERLAP = 0.3

_FINE = 4  # shapes are drawn this many times larger and averaged, for smooth edges


def read(split, seed=0):
    """Draws one split, 2,000 pictures for "train" or 200 for "val", each 256 x 256 with 1 to 8 objects.

    The longer side of a box measures 20 to 160 pixels, and the IoU of two boxes is at most 0.3. Smaller objects lie in
    front of larger ones; boxes, masks and areas cover the complete shape, including hidden parts. The keypoints are
    the center of the shape and its tip: the point of the outline farthest from the center, the topmost one in case of
    a tie. A keypoint behind another object has visibility 1.

    Args:
        split: "train" or "val".
        seed: integer of 0 or more; a different seed draws different pictures.

    Returns:
        `Dataset` with pixels, masks (RLE) and keypoints.

    Raises:
        ValueError: the split is unknown.
    """
    if split not in COUNTS:
        raise ValueError(f"shapes has the splits {tuple(COUNTS)}, not {split!r}.")
    records = [picture(split, index, seed) for index in range(COUNTS[split])]
    return Dataset(f"shapes {split}", CLASSES, records, keypoints=KEYPOINTS)


def picture(split, index, seed=0):
    """Draws one picture, which depends only on these three arguments.

    Args:
        split: "train" or "val".
        index: the image id, 0 or more.
        seed: integer of 0 or more.

    Returns:
        `Record`.
    """
    rng = np.random.default_rng((seed, tuple(COUNTS).index(split), index))
    shapes = sorted(_arrange(rng), key=lambda shape: -shape["area"])
    canvas = _texture(rng, SIDE, SIDE, _color(rng))
    front = np.full((SIDE, SIDE), -1)
    for order, shape in enumerate(shapes):
        _paint(rng, canvas, shape)
        front[shape["mask"]] = order

    points = np.stack([shape["points"] for shape in shapes])
    columns, rows = np.clip(points.astype(int), 0, SIDE - 1).transpose(2, 0, 1)
    hidden = front[rows, columns] > np.arange(len(shapes))[:, None]
    return Record(
        id=index,
        image=canvas.round().astype(np.uint8),
        height=SIDE,
        width=SIDE,
        boxes=np.stack([shape["box"] for shape in shapes]),
        classes=np.array([shape["class"] for shape in shapes], np.int32),
        crowds=np.zeros(len(shapes), bool),
        areas=np.array([shape["area"] for shape in shapes], np.float32),
        segments=[_encode(shape["mask"]) for shape in shapes],
        keypoints=np.concatenate([points, 2 - hidden[..., None]], axis=-1).astype(np.float32),
    )


def _arrange(rng):
    """1 to 8 shapes with little overlap; up to 20 attempts to place each."""
    shapes = []
    for class_id in rng.integers(len(CLASSES), size=rng.integers(1, MOST_OBJECTS + 1)):
        for _ in range(20):
            shape = _shape(rng, class_id)
            if _fits(shape["box"], [other["box"] for other in shapes]):
                shapes.append(shape)
                break
    return shapes


def _fits(box, others):
    side = (box[2:] - box[:2]).max()
    return SMALLEST <= side <= LARGEST and all(_iou(box, other) <= MOST_OVERLAP for other in others)


def _shape(rng, class_id):
    """A shape of random rotation and size at a random position inside the picture."""
    angle = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    outline = _OUTLINES[CLASSES[class_id]] @ rotation
    low, high = outline.min(0), outline.max(0)
    scale = np.exp(rng.uniform(*np.log([SMALLEST, LARGEST]))) / (high - low).max()
    offset = rng.uniform(0, SIDE - scale * (high - low)) - scale * low
    outline = outline * scale + offset

    window, coverage = _rasterize(outline)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[window] = coverage >= 0.5
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    distances = np.hypot(*(outline - offset).T)
    tips = outline[distances > distances.max() * (1 - 1e-6)]
    return {
        "class": class_id,
        "window": window,
        "coverage": coverage,
        "mask": mask,
        "area": mask.sum(),
        "box": np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32),
        "points": np.stack([offset, tips[tips[:, 1].argmin()]]),
    }


def _rasterize(outline):
    """The window of the picture that holds the outline, and how much of each of its pixels lies inside, 0...1."""
    left, top = np.floor(outline.min(0)).astype(int)
    right, bottom = np.ceil(outline.max(0)).astype(int)
    fine = Image.new("L", ((right - left) * _FINE, (bottom - top) * _FINE))
    ImageDraw.Draw(fine).polygon(((outline - [left, top]) * _FINE - 0.5).ravel().tolist(), fill=255)
    return np.s_[top:bottom, left:right], np.asarray(fine.reduce(_FINE), np.float32) / 255


def _paint(rng, canvas, shape):
    """Paints a shape on the canvas, in a color that stands out from the background."""
    under, coverage = canvas[shape["window"]], shape["coverage"]
    color = _color(rng, away_from=under[coverage >= 0.5].mean(0))
    under += coverage[..., None] * (_texture(rng, *coverage.shape, color) - under)


def _color(rng, away_from=None):
    while True:
        color = 255 * np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.1, 0.9), rng.uniform(0.2, 1.0)))
        if away_from is None or np.linalg.norm(color - away_from) > 120:
            return color


def _texture(rng, height, width, color):
    """Stripes, a gradient or clouds around a color, with grain, [height, width, 3] float32."""
    y, x = np.ogrid[:height, :width]
    angle = rng.uniform(0, 2 * np.pi)
    along = (x * np.cos(angle) + y * np.sin(angle)).astype(np.float32)
    style = rng.integers(3)
    if style == 0:
        pattern = np.sin(along * (2 * np.pi / rng.uniform(6, 40)))
    elif style == 1:
        pattern = 2 * (along - along.min()) / np.ptp(along) - 1
    else:
        clouds = Image.fromarray(rng.uniform(-1.5, 1.5, rng.integers(3, 12, 2)).astype(np.float32))
        pattern = np.asarray(clouds.resize((width, height), Image.Resampling.BICUBIC))
    grain = rng.standard_normal((height, width), np.float32) * rng.uniform(2, 8)
    texture = pattern[..., None] * rng.uniform(-40, 40, 3).astype(np.float32)
    texture += grain[..., None]
    texture += color.astype(np.float32)
    return texture.clip(0, 255, out=texture)


def _iou(one, other):
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = np.maximum(sides, 0).prod()
    return common / ((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - common)


def _encode(mask):
    code = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": code["size"], "counts": code["counts"].decode()}


def _arc(start, stop, points, radius=1.0):
    angles = np.linspace(start, stop, points, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _crescent():
    """A disk minus a smaller disk to its right, with the origin at the middle of the remainder."""
    distance, radius = 0.55, 0.75
    x = (1 + distance**2 - radius**2) / (2 * distance)
    horn, mouth = np.arccos(x), np.arctan2(np.sqrt(1 - x**2), x - distance)
    outer = _arc(horn, 2 * np.pi - horn, 48)
    inner = _arc(2 * np.pi - mouth, mouth, 48, radius) + [distance, 0]
    return np.concatenate([outer, inner]) - [(distance - radius - 1) / 2, 0]


def _cross():
    arm = np.array([[1, -0.36], [1, 0.36], [0.36, 0.36]])
    return np.concatenate([arm, arm[:, ::-1] * [-1, 1], -arm, arm[:, ::-1] * [1, -1]])


def _star():
    outline = _arc(0, 2 * np.pi, 10)
    outline[1::2] *= 0.45
    return outline


_OUTLINES = {
    "circle": _arc(0, 2 * np.pi, 72),
    "crescent": _crescent(),
    "cross": _cross(),
    "square": _arc(0, 2 * np.pi, 4),
    "star": _star(),
    "triangle": _arc(0, 2 * np.pi, 3),
}
