"""The base of all detectors: one set of verbs for every paper."""

import keras
import tensorflow as tf

from kerasdet import images as image
from kerasdet.decoding import suppress
from kerasdet.detectors import settings
from kerasdet.detectors.complete import Complete
from kerasdet.detectors.predict import Predicts
from kerasdet.detectors.saving import Saves
from kerasdet.detectors.step import Trains


class Detector(settings.Settings, Predicts, Trains, Saves, keras.Model, metaclass=Complete):
    """A detector: `network`, `loss_terms` and `detections` make it train, validate, detect, save and export.

    A subclass gives, in the order in which data flows, its layers, `network`, `loss_terms` and `detections`, and names
    its terms in `terms` and in `class_heads` the layers, by the attributes that lead to them, whose last axis holds the
    outputs of every class, anchor by anchor. One that learns from masks, keypoints or proposals says so by
    `needs_masks`, `num_keypoints` (P) and `needs_proposals`. One with anchors has them as `anchors`, see
    `kerasdet.anchors`, says by `positive_iou` which overlap makes an anchor learn an object, and gives `match` and
    `fitted`. One with weights that are fitted without gradients names its solvers in `solvers` and has a method
    `solve_NAME` for each, see `solve`. One whose
    network takes one size of image says so by `fixed`. The constructor's arguments in `SETTINGS` may be set on a living
    detector, as `model.above = 0.2`: `detect`, `predict`, saved and exported files then take the new value. The others
    are fixed, and setting one is an error.

    Args:
        classes: names of the classes, or their number.
        resize: rule of `images.preprocess`: ("shorter", 800, 1333), ("stretch", 300, 300), ("squeeze", 300, 300),
            ("letterbox", 416, 416), ("corner", 512, 512), ("keep",), or one of darknet's,
            CenterNet's or CornerNet's.
        multiple: network images are padded to a multiple of this, pixels.
        nms: kind of suppression, one of `suppress.KINDS`, or a dict of its `name` and options.
        name, dtype: of the Keras model; dtype "mixed_bfloat16" and "mixed_float16" train and run in mixed precision,
            with boxes, losses and suppression in float32.
    """

    class_heads = ()
    # Outputs in `class_heads` behind those of all cells' classes.
    class_rest = 0
    # What is predicted of each box beside its class, by the names that `suppress.per_class` knows.
    predicted = ()
    # Its anchors, and the IoU from which one of them learns an object; None where a detector has none.
    anchors = None
    positive_iou = None
    solvers = ()
    fixed = False

    def __init__(self, classes, resize=("shorter", 800, 1333), multiple=32, nms="hard", name=None, dtype=None):
        # Keras would cast boxes to half precision and compile suppression with XLA.
        super().__init__(name=name, dtype=dtype, autocast=False)
        self.supports_jit = False
        image.check_rule(resize)
        suppress.check(nms, self.predicted)
        if self.fixed and resize[0] not in image.ONE_SIZE:
            raise ValueError(f"{type(self).__name__} takes one size of image: resize must be one of {image.ONE_SIZE}.")
        self.classes = settings.names(classes)
        self.resize = tuple(resize)
        self.multiple = multiple
        self.nms = nms

    @property
    def num_classes(self):
        """K, the number of classes."""
        return len(self.classes)

    @property
    def class_outputs(self):
        """Names of an anchor's outputs in `class_heads`; a softmax over a background too has a name more."""
        return self.classes

    def outputs_of(self, head):
        """As `class_outputs`, of one of `class_heads`: all are alike unless a detector says otherwise."""
        return self.class_outputs

    def network(self, images, training=False):
        """Runs once per picture.

        Args:
            images: the images dict of `contract`.
            training: whether norms and dropout train.

        Returns:
            Dict of raw outputs.
        """
        raise NotImplementedError

    def raw(self, outputs):
        """What an application needs that decodes by itself, by default all of `network`'s outputs.

        Args:
            outputs: what `network` returned.

        Returns:
            Dict of tensors.
        """
        return outputs

    def loss_terms(self, outputs, objects, images, training=True):
        """The paper's loss.

        Args:
            outputs: what `network` returned.
            objects: the objects dict of `contract`.
            images: the images dict of `contract`.
            training: False in validation.

        Returns:
            Dict of scalars, one for each of `terms`; their sum over terms and replicas is the loss.
        """
        raise NotImplementedError

    def match(self, objects, images):
        """Which anchors learn which objects: what the loss takes, and what tools draw and judge.

        Args:
            objects: the objects dict of `contract`.
            images: the images dict of `contract`.

        Returns:
            The anchors, [A, 4] or [B, A, 4] float32, network pixels, and a `targets.assign.Match`; None where a
            detector has no anchors.
        """
        return None

    def fitted(self, boxes, sizes):
        """Arguments of anchors that reach more objects, by `positive_iou`.

        Args:
            boxes: [N, 4], the objects, network pixels.
            sizes: [N, 2] whole numbers, height and width of the network's image that each lies in.

        Returns:
            Dict ready for a config's `model`; None where the anchors at hand are as good, or a detector has none.
        """
        return None

    def solve(self, solver, train, cached, **options):
        """Fits weights without steps, such as SVMs or ridge regression on cached features: a stage with a `solver`.

        It calls the method `solve_NAME(train, cached, ...)` of the solver's name. What is fitted are weights of the
        model, such as a Dense layer's: saving and exporting need to know nothing.

        Args:
            solver: one of `solvers`.
            train: a `data.Dataset`, with the stage's proposals if any.
            cached: a function that runs another one over a data set and keeps what it returns, in a file that a resumed
                run goes on with. `cached(name, dataset, function, keep=None)` is `training.cache.features` with the
                path of that name.
            options: of the solver.
        """
        getattr(self, f"solve_{solver}")(train, cached, **options)

    def detections(self, outputs, images):
        """Decodes and suppresses.

        Args:
            outputs: what `network` returned.
            images: the images dict of `contract`.

        Returns:
            The detections dict of `contract`, in network pixels.
        """
        raise NotImplementedError

    def preprocess(self, pixels, size=None, scale=1.0):
        """From pixels of a picture to what the network sees; training, `detect` and exports all call this.

        Args:
            pixels: [B, H, W, 3] or [H, W, 3], uint8 or float32, RGB 0...255.
            size: another smaller side for the resize rule, pixels; training at several sizes takes it.
            scale: factor of what the resize rule gives, as views take it.

        Returns:
            `pixels`, `windows` and `frames` of the images dict, batched as the input is.

        Raises:
            ValueError: another size, where the network takes one alone.
        """
        if self.fixed and (size is not None or scale != 1.0):
            name = type(self).__name__
            raise ValueError(f"{name} takes one size of image: it cannot be trained at several, nor see scaled views.")
        return image.preprocess(pixels, self.resize, self.multiple, size, scale)

    def build(self, *shapes):
        """Nothing: layers make their weights when they first run, which `Complete` sees to."""

    def example(self):
        """A batch of one black picture and one region, small where the detector takes any size."""
        size = 64 if self.resize[0] == "shorter" else None
        images = self.preprocess(tf.zeros([1, 64, 64, 3], tf.uint8), size)
        return {**images, "proposals": images["windows"][:, None], "ids": tf.zeros([1], tf.int64)}
