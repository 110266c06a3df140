"""What every reader returns: a `Dataset` of `Record`s, plain NumPy values in pixels of the upright image."""

import dataclasses

import numpy as np
import tensorflow as tf

from kerasdet import images
from kerasdet.data.tally import Tally


@dataclasses.dataclass(frozen=True)
class Encoded:
    """An image file inside a larger file, such as a TFRecord shard; its bytes are read only when needed.

    Attributes:
        file: path of the larger file.
        offset, length: position of the image file in it, bytes.
        name: the image file's own name, for messages.
    """

    file: str
    offset: int
    length: int
    name: str

    def __str__(self):
        return f"{self.name} in {self.file}"

    def read(self):
        """The bytes of the image file."""
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            return file.read(self.length)

    def pixels(self):
        """The picture, [H, W, 3] uint8, upright.

        Raises:
            ValueError: names the image and the file that holds it.
        """
        try:
            return images.decode(self.read()).numpy()
        except tf.errors.InvalidArgumentError:
            raise ValueError(f"{self}: cannot be decoded as an image.") from None


@dataclasses.dataclass
class Record:
    """One picture with its objects.

    Attributes:
        id: the data set's image id, 0 or more, unique in its data set.
        image: path of the image file, an `Encoded` one, the window of a picture (`data.tiles`), or the pixels
            themselves, [H, W, 3] uint8.
        height, width: size of the upright image (EXIF orientation applied), pixels.
        boxes: [M, 4] float32, x1 y1 x2 y2, continuous pixels, inside the image, positive area.
        classes: [M] int32, 0...K-1.
        crowds: [M] bool, regions to ignore (COCO iscrowd, VOC difficult).
        areas: [M] float32, used by COCO's size ranges: the mask's area if known, else the box's.
        segments: None, or M COCO segmentations (polygons or RLE).
        keypoints: None, or [M, P, 3] float32: x, y, visibility 0/1/2.
        stated: None, or [N, 4] float32: corners of all boxes as the file states them, before clipping and dropping;
            the pre-flight uses them to detect a wrong format.
        proposals: None, or [R, 4] float32: boxes inside the image where objects may be, best first.
    """

    id: int
    image: str | Encoded | np.ndarray
    height: int
    width: int
    boxes: np.ndarray
    classes: np.ndarray
    crowds: np.ndarray
    areas: np.ndarray
    segments: list | None = None
    keypoints: np.ndarray | None = None
    stated: np.ndarray | None = None
    proposals: np.ndarray | None = None

    @property
    def name(self):
        """The picture's name in messages: its file, or "image ID"."""
        return f"image {self.id}" if isinstance(self.image, np.ndarray) else str(self.image)

    def pixels(self):
        """The picture itself, [H, W, 3] uint8."""
        if isinstance(self.image, np.ndarray):
            return self.image
        return images.load(self.image) if isinstance(self.image, str) else self.image.pixels()


@dataclasses.dataclass
class Dataset:
    """Records, with the names of their classes and keypoints.

    Attributes:
        name: the data set's name in logs and reports.
        classes: names, in the order of the class ids 0...K-1.
        records: list of `Record`.
        category_ids: ids of the classes in result files; 1...K unless the annotation file says otherwise.
        keypoints: names of the P keypoints, or an empty tuple.
        notes: a message for each thing that a reader dropped or changed, naming the file and the annotation.
        skeleton: pairs of keypoints 0...P-1 that a drawing connects.
        written: how the file states its boxes, one of `formats.WRITTEN`.
        tally: the reader's `Tally`, or None.
    """

    name: str
    classes: tuple
    records: list
    category_ids: tuple = ()
    keypoints: tuple = ()
    notes: list = dataclasses.field(default_factory=list)
    skeleton: tuple = ()
    written: str = "corners"
    tally: Tally | None = None

    def __post_init__(self):
        self.classes = tuple(self.classes)
        self.category_ids = tuple(self.category_ids) or tuple(range(1, len(self.classes) + 1))

    def __len__(self):
        return len(self.records)

    @property
    def masked(self):
        """Whether every object has a mask."""
        return all(record.segments is not None for record in self.records)


def clip(boxes, height, width):
    """Clips boxes to their image and finds those with area left.

    Args:
        boxes: M boxes x1 y1 x2 y2, pixels, anywhere.
        height, width: size of the image, pixels.

    Returns:
        [M, 4] float32 boxes inside the image, and [M] bool: both sides are positive.
    """
    boxes = np.clip(np.reshape(np.asarray(boxes, np.float32), (-1, 4)), 0, np.float32([width, height, width, height]))
    return boxes, (boxes[:, 2:] > boxes[:, :2]).all(1)
