"""Makes a page from a template: pictures as data, curves as SVG paths."""

import base64
import io
import pathlib

import jinja2
import numpy as np
from PIL import Image

from kerasdet import draw

# Longer side of the pictures in a page, pixels, and their JPEG quality: legible, and a page of 30 has few MB.
_SIDE, _QUALITY = 800, 82
# Width and height of a chart's area in the units of its SVG.
CHART = (400, 240)

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("kerasdet.report"),
    autoescape=True,  # class and file names are text, whatever they hold
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def text(template, **values):
    """Fills in a template.

    Args:
        template: file name in `templates`.
        values: what the template names.

    Returns:
        The page, HTML.
    """
    return _templates.get_template(template).render(chart=CHART, **values)


def write(template, path, **values):
    """Fills in a template and writes the page.

    Args:
        template, values: as in `text`.
        path: HTML file to write.
    """
    pathlib.Path(path).write_text(text(template, **values), encoding="utf-8", errors="replace")


def data(pixels):
    """A picture as an address that holds it.

    Args:
        pixels: [H, W, 3] uint8.

    Returns:
        "data:image/jpeg;base64,...", of a picture whose longer side is at most 800.
    """
    picture, file = Image.fromarray(pixels), io.BytesIO()
    picture.thumbnail((_SIDE, _SIDE))
    picture.save(file, "jpeg", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def color(index):
    """The color of a class in drawings, as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*draw.color(index))


def line(x, y):
    """The SVG path of a curve over a chart.

    Args:
        x, y: [N] floats in 0...1.
    """
    width, height = CHART
    points = zip(np.multiply(x, width), np.multiply(np.subtract(1, y), height), strict=True)
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)


def rounded(boxes):
    """Boxes [N, 4] as lists of numbers of one decimal."""
    return np.round(np.asarray(boxes, float), 1).reshape(-1, 4).tolist()
