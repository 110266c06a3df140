"""Draws boxes, labels, masks and keypoints on pictures, and puts pictures side by side."""

import collections
import colorsys
import os

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from kerasdet import fonts, images
from kerasdet.data import segments

_PAPER, _INK = (255, 255, 255), (34, 40, 49)
# Opacity of a mask's color.
_OPACITY = 0.4
# Share of the picture that labels may cover; if all labels together would cover more, none are drawn.
_LABELED = 0.25


def color(index):
    """Returns the color of a class: always the same, and clearly different from its neighbors'.

    Args:
        index: the class id, 0...K-1.

    Returns:
        Red, green, blue, 0...255.
    """
    hue = (0.57 + 0.618034 * index) % 1  # steps of the golden ratio spread any number of hues evenly
    saturation, value = ((0.85, 0.95), (0.65, 1.0), (0.95, 0.72))[index // 7 % 3]
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))


def boxes(image, boxes, classes, names, scores=None, keypoints=None, masks=None, skeleton=()):
    """Draws objects or detections: boxes in the color of their class, with labels that cover as little as possible.

    A picture full of objects gets no labels because they would hide the objects.

    Args:
        image: a PIL image or an [H, W, 3] array, RGB 0...255; it is not modified.
        boxes: [N, 4] floats, x1 y1 x2 y2, pixels of the image.
        classes: [N] integers, 0...K-1; -1 marks padding.
        names: [K] class names.
        scores: None, or [N] floats in 0...1.
        keypoints: None, or [N, P, 3] floats: x, y, and a visibility or score; only points with a value above 0 are
            drawn.
        masks: None, or N arrays [H, W] of 0/1; the area of a mask is tinted and its edge drawn in full color.
        skeleton: pairs of keypoints 0...P-1 that are connected by a line if both are drawn.

    Returns:
        A PIL image of the same size.
    """
    canvas = picture(image)
    boxes = np.reshape(np.asarray(boxes, np.float64), (-1, 4))
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    order = [index for index in np.argsort(-areas, kind="stable") if classes[index] >= 0]
    width = line_width(canvas)
    if masks is not None:
        canvas = _tinted(canvas, [(masks[index], color(classes[index])) for index in order], width)
    pen = ImageDraw.Draw(canvas)
    for index in order:
        _frame(pen, boxes[index], color(classes[index]), width)
    if keypoints is not None:
        for index in order:
            _points(pen, keypoints[index], skeleton, color(classes[index]), width)
    size = max(10, 6 * width)
    texts = {i: names[classes[i]] if scores is None else f"{names[classes[i]]} {scores[i]:.2f}" for i in order}
    if sum(np.prod(_chip(text, size, width)) for text in texts.values()) > _LABELED * canvas.width * canvas.height:
        return canvas
    shown = [boxes[index] for index in order]
    for index in reversed(order):
        shown.append(_label(pen, boxes[index], texts[index], color(classes[index]), size, width, np.array(shown)))
    return canvas


def found(image, found, skeleton=()):
    """Draws the result of `Detector.detect` for one picture.

    Args:
        image: a path, a PIL image or an [H, W, 3] array, RGB 0...255.
        found: dict of `boxes`, `scores`, `classes` and `names`, and optionally `masks` and `keypoints`.
        skeleton: as in `boxes`.

    Returns:
        A PIL image of the same size.
    """
    pixels = images.load(image) if isinstance(image, (str, os.PathLike)) else image
    names = dict(zip(found["classes"], found["names"], strict=True))
    more = {key: found[key] for key in ("masks", "keypoints") if key in found}
    return boxes(pixels, found["boxes"], found["classes"], names, found["scores"], skeleton=skeleton, **more)


def truth(record, dataset):
    """Draws the objects of a record, with their masks and keypoints.

    Args:
        record: a `data.Record`.
        dataset: its `data.Dataset`.

    Returns:
        A PIL image.
    """
    masks = None
    if record.segments is not None:
        masks = [segments.decode(segment, record.height, record.width) for segment in record.segments]
    return boxes(
        record.pixels(), record.boxes, record.classes, dataset.classes, keypoints=record.keypoints, masks=masks,
        skeleton=dataset.skeleton,
    )  # fmt: skip


def outline(image, boxes, color, width=None):
    """Draws plain boxes in one color, such as anchors or proposals.

    Args:
        image: a PIL image or an [H, W, 3] array, RGB 0...255; it is not modified.
        boxes: [N, 4] floats, x1 y1 x2 y2, pixels of the image.
        color: red, green, blue, 0...255, or a name that Pillow knows.
        width: line width, pixels; None chooses one that suits the picture.

    Returns:
        A PIL image of the same size.
    """
    canvas = picture(image)
    pen = ImageDraw.Draw(canvas)
    for box in np.reshape(np.asarray(boxes, np.float64), (-1, 4)):
        _frame(pen, box, color, width or line_width(canvas))
    return canvas


def copies(paths, folder, videos=()):
    """File names for annotated copies of pictures: the pictures' own names, numbered if several are the same.

    Args:
        paths: paths of the pictures.
        folder: folder for the copies.
        videos: endings of the paths that are videos.

    Returns:
        List of paths that end in .png, or in .mp4 for videos.
    """
    count, names = collections.Counter(), []
    for path in paths:
        stem, ending = os.path.splitext(os.path.basename(path))
        count[stem] += 1
        number = "" if count[stem] == 1 else f"-{count[stem]}"
        names.append(os.path.join(folder, f"{stem}{number}.{'mp4' if ending.lower() in videos else 'png'}"))
    return names


def beside(left, right, titles):
    """Puts two pictures side by side.

    Args:
        left, right: PIL images or [H, W, 3] arrays, RGB 0...255.
        titles: two captions.

    Returns:
        A PIL image.
    """
    return sheet([left, right], 2, titles)


def sheet(images, columns, titles=None):
    """Arranges pictures in rows, each centered in a cell as large as the largest picture.

    Args:
        images: PIL images or [H, W, 3] arrays, RGB 0...255.
        columns: pictures per row.
        titles: None, or one caption per image.

    Returns:
        A PIL image.
    """
    images = [picture(image) for image in images]
    width, height = (max(image.size[axis] for image in images) for axis in (0, 1))
    size = max(12, 6 * max(line_width(image) for image in images))
    gap, caption = size, 2 * size if titles else 0
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (gap + columns * (width + gap), gap + rows * (height + caption + gap)), _PAPER)
    pen = ImageDraw.Draw(page)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        left, top = gap + column * (width + gap), gap + row * (height + caption + gap)
        page.paste(image, (left + (width - image.width) // 2, top + caption + (height - image.height) // 2))
        if titles:
            middle = (left + width / 2, top + caption / 2)
            pen.text(middle, titles[index], fill=_INK, font=fonts.font(titles[index], size), anchor="mm")
    return page


def picture(image):
    """Converts a picture to a PIL image that may be drawn on.

    Args:
        image: a PIL image or an [H, W, 3] array, RGB 0...255.

    Returns:
        A PIL image in RGB, a copy.
    """
    if isinstance(image, Image.Image):
        return image.convert("RGB").copy()
    return Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8))


def line_width(image):
    """Returns a line width that suits a PIL image, in whole pixels."""
    return max(1, round((image.width * image.height) ** 0.5 / 250))


def _frame(pen, box, color, width):
    """Draws a line around a box; it covers the inside of the box only at the picture's border."""
    x1, y1, x2, y2 = (round(value) for value in box)
    right, bottom = pen.im.size
    outer = (max(x1 - width, 0), max(y1 - width, 0), min(x2 + width, right) - 1, min(y2 + width, bottom) - 1)
    if outer[0] <= outer[2] and outer[1] <= outer[3]:
        pen.rectangle(outer, outline=color, width=width)


def _tinted(canvas, masks, width):
    """Tints the picture by masks, pairs of an array [H, W] of 0/1 and a color; their edges get the full color."""
    pixels = np.array(canvas)
    for mask, color in masks:
        rows, columns = (np.flatnonzero(np.any(mask, axis)) for axis in (1, 0))
        if not len(rows):
            continue
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        inside = np.asarray(mask[window], bool)
        eroded = Image.fromarray(np.pad(inside, width)).convert("L").filter(ImageFilter.MinFilter(2 * width + 1))
        eroded = np.asarray(eroded, bool)[width:-width, width:-width]
        tint = (1 - _OPACITY) * pixels[window][eroded] + _OPACITY * np.array(color)
        pixels[window][inside] = color
        pixels[window][eroded] = np.rint(tint)
    return Image.fromarray(pixels)


def _points(pen, keypoints, skeleton, color, width):
    keypoints = np.asarray(keypoints, np.float64)
    for start, end in skeleton:
        if keypoints[start, 2] > 0 and keypoints[end, 2] > 0:
            pen.line([*keypoints[start, :2], *keypoints[end, :2]], fill=color, width=width)
    for x, y, seen in keypoints:
        if seen > 0:
            pen.circle((x, y), 1.5 * width, fill=color, outline=_PAPER, width=max(1, round(width / 2)))


def _label(pen, box, text, color, size, width, shown):
    """Writes a label on a chip where it covers least of the boxes and chips `shown`; returns the chip's box."""
    font = fonts.font(text, size)
    left, chip_width, chip_height = font.getbbox(text)[0], *_chip(text, size, width)
    x1, y1, x2, y2 = box
    corners = [
        (x1 - width, y1 - width - chip_height),
        (x2 + width - chip_width, y1 - width - chip_height),
        (x1 - width, y2 + width),
        (x2 + width - chip_width, y2 + width),
        (x1, y1),
        (x2 - chip_width, y2 - chip_height),
    ]
    sides = np.array([chip_width, chip_height])
    limit = np.maximum(np.array(pen.im.size) - sides, 0)
    chips = [np.concatenate([corner, corner + sides]) for corner in np.rint(np.clip(corners, 0, limit))]
    chip = min(chips, key=lambda chip: np.sum(_covered(chip, shown)))
    pen.rounded_rectangle((*chip[:2], *(chip[2:] - 1)), radius=width, fill=color)
    middle = (chip[0] + 2 * width - left, (chip[1] + chip[3]) / 2)
    pen.text(middle, text, fill=_readable(color), font=font, anchor="lm")
    return chip


def _chip(text, size, width):
    """Width and height of a label's chip."""
    left, _, right, _ = fonts.font(text, size).getbbox(text)
    return right - left + 4 * width, size + 2 * width


def _covered(chip, boxes):
    """The share of each of the [N, 4] boxes that lies under a chip."""
    sides = np.maximum(np.minimum(chip[2:], boxes[:, 2:]) - np.maximum(chip[:2], boxes[:, :2]), 0)
    return np.prod(sides, axis=1) / np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 1)


def _readable(color):
    """Dark text on bright colors, white text on dark ones, by luminance (ITU-R BT.601)."""
    return _INK if np.dot(color, (0.299, 0.587, 0.114)) > 140 else _PAPER
