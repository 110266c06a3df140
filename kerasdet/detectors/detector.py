"""The base of all detectors: one set of verbs for every paper."""

import inspect
import os
import time

import keras
import numpy as np
import tensorflow as tf

from kerasdet import images as image
from kerasdet import tiles as tile
from kerasdet.decoding.paste import paste
from kerasdet.targets.assign import over_replicas


class _Complete(type(keras.Model)):
    """Makes a detector under its own dtype policy, keeps its arguments and builds it: ready when constructed."""

    def __call__(cls, *args, **kwargs):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(kwargs.get("dtype") or before)
        try:
            model = super().__call__(*args, **kwargs)
            bound = inspect.signature(cls.__init__).bind(model, *args, **kwargs)
            bound.apply_defaults()
            model.arguments = {k: v for k, v in bound.arguments.items() if k not in ("self", "kwargs")}
            model.arguments.update(bound.arguments.get("kwargs", {}))
            model(model.example())
        finally:
            keras.config.set_dtype_policy(before)
        return model


class Detector(keras.Model, metaclass=_Complete):
    """A detector: `network`, `loss_terms` and `detections` make it train, validate, detect, save and export.

    A subclass gives, in the order in which data flows, its layers, `network`, `loss_terms` and `detections`, and names
    its terms in `terms` and in `class_heads` the layers, by the attributes that lead to them, whose last axis holds the
    outputs of every class, anchor by anchor. One that learns from masks, keypoints or proposals says so by
    `needs_masks`, `num_keypoints` (P) and `needs_proposals`; one whose network takes one size of image, by `fixed`.

    Args:
        classes: names of the classes, or their number.
        resize: rule of `images.preprocess`: ("shorter", 800, 1333), ("stretch", 300, 300), ("squeeze", 300, 300),
            ("letterbox", 416, 416) or ("keep",).
        multiple: network images are padded to a multiple of this, pixels.
        name, dtype: of the Keras model; dtype "mixed_bfloat16" and "mixed_float16" train and run in mixed precision,
            with boxes, losses and suppression in float32.
    """

    terms = ()
    # IoU above which the weaker of two boxes of a class is dropped; where tiles overlap, too.
    suppression = 0.5
    class_heads = ()
    needs_masks = False
    needs_proposals = False
    num_keypoints = 0
    fixed = False

    def __init__(self, classes, resize=("shorter", 800, 1333), multiple=32, name=None, dtype=None):
        # Keras would cast boxes to half precision and compile suppression with XLA.
        super().__init__(name=name, dtype=dtype, autocast=False)
        self.supports_jit = False
        image.check_rule(resize)
        if self.fixed and resize[0] not in image.ONE_SIZE:
            raise ValueError(f"{type(self).__name__} takes one size of image: resize must be one of {image.ONE_SIZE}.")
        names = [f"class {i}" for i in range(classes)] if isinstance(classes, int) else list(classes)
        if not names or len(set(names)) != len(names):
            raise ValueError(f"classes must be one or more different names, or their number, got {classes!r}.")
        self.classes = tuple(names)
        self.resize = tuple(resize)
        self.multiple = multiple
        self.trackers = {term: keras.metrics.Mean(term) for term in ("loss", *self.terms)}
        self.clip_norm, self.accumulate, self.counted, self.seed = None, 1, self.terms, 0

    @property
    def num_classes(self):
        """K, the number of classes."""
        return len(self.classes)

    @property
    def class_outputs(self):
        """Names of an anchor's outputs in `class_heads`; a softmax over a background too has a name more."""
        return self.classes

    def step(self, training=True):
        """Steps trained so far, a scalar integer, the seed of what a step draws; 0 in validation."""
        if not (training and self.compiled):
            return tf.constant(0, tf.int64)
        return tf.cast(getattr(self.optimizer, "inner_optimizer", self.optimizer).iterations, tf.int64)

    def check(self, dataset):
        """Checks that a data set has what the detector is trained and scored on.

        Args:
            dataset: a `data.Dataset`.

        Raises:
            ValueError: one line; it has other classes, no masks or proposals, or another number of keypoints.
        """
        if tuple(dataset.classes) != tuple(self.classes):
            raise ValueError(
                f"the model knows the classes {self.classes}, but {dataset.name} has {tuple(dataset.classes)}."
            )
        if self.needs_masks and not dataset.masked:
            raise ValueError(
                f"{type(self).__name__} learns masks, but {dataset.name} has images without: give COCO segmentations, "
                "or build the model without masks."
            )
        if self.needs_proposals and any(record.proposals is None for record in dataset.records):
            raise ValueError(
                f"{type(self).__name__} needs proposals, and {dataset.name} has none: write a file by "
                "`tools.make_proposals` and name it as `proposals` in the config's data."
            )
        if self.num_keypoints and len(dataset.keypoints) != self.num_keypoints:
            raise ValueError(
                f"{type(self).__name__} has {self.num_keypoints} keypoints, but {dataset.name} has "
                f"{len(dataset.keypoints)}: {tuple(dataset.keypoints)}."
            )

    def network(self, images, training=False):
        """Runs once a picture.

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

    def detections(self, outputs, images):
        """Decodes and suppresses.

        Args:
            outputs: what `network` returned.
            images: the images dict of `contract`.

        Returns:
            The detections dict of `contract`, in network pixels.
        """
        raise NotImplementedError

    def preprocess(self, pixels, size=None):
        """From pixels of a picture to what the network sees; training, `detect` and exports all call this.

        Args:
            pixels: [B, H, W, 3] or [H, W, 3], uint8 or float32, RGB 0...255.
            size: another smaller side for the resize rule, pixels; training at several sizes takes it.

        Returns:
            `pixels`, `windows` and `frames` of the images dict, batched as the input is.

        Raises:
            ValueError: another size, where the network takes one alone.
        """
        if self.fixed and size is not None:
            raise ValueError(f"{type(self).__name__} takes one size of image: it cannot be trained at several.")
        return image.preprocess(pixels, self.resize, self.multiple, size)

    def call(self, images):
        """Detects.

        Args:
            images: the images dict, or bare pixels [B, H, W, 3] 0...255.

        Returns:
            The detections dict: in network pixels for a dict, in the pictures' own pixels for bare pixels. Masks are
            grids over the boxes in both.
        """
        if isinstance(images, dict):
            return self.detections(self.network(images), images)
        return self._in_pixels(images)

    def _in_pixels(self, pixels, proposals=None):
        """As `call` for bare pixels, with proposals [B, R, 4] in their own pixels where the detector takes some."""
        self._check_proposals(proposals)
        images = {**self.preprocess(pixels), "ids": tf.zeros(tf.shape(pixels)[:1], tf.int64)}
        if proposals is not None:
            images["proposals"] = image.to_frames(proposals, images["frames"])
        return image.detections_from_frames(self.detections(self.network(images), images), images["frames"])

    def _check_proposals(self, proposals, tiles=None):
        if self.needs_proposals and proposals is None:
            raise ValueError(f"{type(self).__name__} needs proposals: give `proposals` for every picture.")
        if proposals is not None and tiles is not None:
            raise ValueError("proposals are made for whole pictures: give no tiles with them.")

    def detect(self, pictures, above=0.3, tiles=None, proposals=None):
        """Detects in files or arrays of any size.

        Args:
            pictures: a path or array [H, W, 3] uint8 RGB, or a list of them.
            above: least score of what is returned, 0...1; for looking at, metrics take all.
            tiles: (size, overlap) in pixels: the picture is seen in windows, see `kerasdet.tiles`, and what they show
                is merged; for small objects in large pictures.
            proposals: boxes [R, 4] in the picture's pixels where objects may be, the best first, or a list of them, one
                for each picture; for a detector that needs them, or in the place of its own.

        Returns:
            For each picture a dict of `boxes` [D, 4] in its pixels, `scores` [D], `classes` [D] and `names`, by falling
            score; and where the detector finds them `masks` [D, H, W] bool and `keypoints` [D, P, 3], x and y in its
            pixels and a score. Without the list for a single picture.

        Raises:
            ValueError: a file is missing or is no image; the line names it. Or proposals are missing.
        """
        if not isinstance(pictures, (list, tuple)):
            return self.detect([pictures], above, tiles, None if proposals is None else [proposals])[0]
        self._check_proposals(proposals, tiles)
        if proposals is not None and len(proposals) != len(pictures):
            raise ValueError(f"proposals must be one array for each of {len(pictures)} pictures, got {len(proposals)}.")
        pixels = (image.load(p) if isinstance(p, (str, os.PathLike)) else np.asarray(p) for p in pictures)
        boxes = [None] * len(pictures) if proposals is None else proposals
        return [self._detect_one(one, above, tiles, own) for one, own in zip(pixels, boxes, strict=True)]

    def _detect_one(self, pixels, above, tiles, proposals):
        if pixels.ndim != 3 or pixels.shape[-1] != 3:
            raise ValueError(f"a picture must be an array [height, width, 3] of RGB pixels, got shape {pixels.shape}.")
        height, width, _ = pixels.shape
        windows = [(0, 0, width, height)] if tiles is None else tile.windows(height, width, *tiles)
        parts = [self._found(pixels[y1:y2, x1:x2], proposals) for x1, y1, x2, y2 in windows]
        found = parts[0] if tiles is None else tile.merged(parts, windows, self.suppression)
        found = {k: v[found["scores"] >= above] for k, v in found.items()}
        if "masks" in found:
            found["masks"] = paste(found["masks"], found["boxes"], height, width)
        return {**found, "names": [self.classes[i] for i in found["classes"]]}

    def _found(self, pixels, proposals):
        given = [np.float32(pixels[None])]
        if proposals is not None:
            given.append(np.float32(proposals).reshape(1, -1, 4))
        found = {k: v[0].numpy() for k, v in self._detect_graph(len(given))(*given).items()}
        count = found.pop("counts")
        return {k: v[:count] for k, v in found.items()}

    def _detect_graph(self, inputs):
        """The graph of `detect`, of pixels and, as a second input, proposals."""
        graphs = self.__dict__.setdefault("graphs", {})
        if inputs not in graphs:
            specs = [tf.TensorSpec([None, None, None, 3], tf.float32), tf.TensorSpec([None, None, 4], tf.float32)]
            graphs[inputs] = tf.function(self._in_pixels, input_signature=specs[:inputs], autograph=False)
        return graphs[inputs]

    def with_dtype(self, dtype):
        """A twin with the same weights that computes in another precision.

        Args:
            dtype: as the constructor takes it: "float32", "mixed_bfloat16", "mixed_float16".
        """
        twin = type(self).from_config({**self.get_config(), "dtype": dtype})
        twin.set_weights(self.get_weights())
        return twin

    def example(self):
        """A batch of one small black picture, as `call` takes it."""
        images = self.preprocess(tf.zeros([1, 64, 64, 3], tf.uint8))
        proposals = {"proposals": images["windows"][:, None]} if self.needs_proposals else {}
        return {**images, **proposals, "ids": tf.zeros([1], tf.int64)}

    # Training: what `compile`, `fit` and `evaluate` of Keras need.

    def compile(self, optimizer, clip_norm=None, accumulate=1, terms=None, seed=0, **kwargs):
        """As `keras.Model.compile`.

        Args:
            optimizer: a Keras optimizer.
            clip_norm: greatest global norm of the gradients, over all replicas; Keras' own would clip each replica.
            accumulate: parts that a replica's batch is taken in, one after another, to save memory. Each part's terms
                are divided by the part's own counts, and the mean over the parts is the loss: equal to the loss of the
                whole batch where terms are means over images.
            terms: names of the loss terms that count; None for all. Weights that only the others reach stay.
            seed: of what a step draws: the anchors and regions that learn.
            kwargs: to Keras.

        Raises:
            ValueError: a term is unknown.
        """
        if not set(terms or ()) <= set(self.terms):
            raise ValueError(f"terms must be some of {self.terms}, got {terms!r}.")
        super().compile(optimizer=optimizer, **{"jit_compile": False, **kwargs})
        self.clip_norm, self.accumulate, self.counted = clip_norm, accumulate, tuple(terms or self.terms)
        self.seed = seed

    def train_step(self, data):
        images, _ = data
        sums, gradients = dict.fromkeys(self.terms, 0.0), None
        for i in range(self.accumulate):
            # A part waits for the one before, or the graph would hold the activations of both.
            with tf.control_dependencies([g for g in gradients or () if g is not None]):
                part = self._part(data, i)
            terms, more = self._gradients(*part)
            gradients = more if gradients is None else [_sum(a, b) for a, b in zip(gradients, more, strict=True)]
            sums = {name: sums[name] + value / self.accumulate for name, value in terms.items()}
        reached = [(g, v) for g, v in zip(gradients, self.trainable_variables, strict=True) if g is not None]
        gradients, variables = map(list, zip(*reached, strict=True))
        if self.clip_norm is not None:
            gradients = self._clip(gradients)
        self.optimizer.apply(gradients, variables)
        return self._track(sums, images)

    def _part(self, data, i):
        if self.accumulate == 1:
            return data
        size = tf.shape(data[0]["ids"])[0] // self.accumulate
        return tf.nest.map_structure(lambda entry: entry[i * size : (i + 1) * size], data)

    def _gradients(self, images, objects):
        """The loss terms of a part of the batch, and the gradients of its share of the loss."""
        with tf.GradientTape() as tape:
            outputs = self.network(images, training=True)
            terms = self.loss_terms(outputs, objects, images, training=True)
            loss = self.optimizer.scale_loss(self._loss(terms) / self.accumulate)
        return terms, tape.gradient(loss, self.trainable_variables)

    def _loss(self, terms):
        return tf.add_n([terms[name] for name in self.counted])

    def test_step(self, data):
        images, objects = data
        outputs = self.network(images, training=False)
        return self._track(self.loss_terms(outputs, objects, images, training=False), images)

    def make_train_function(self, force=False):
        """As Keras' own, but it notes the seconds spent waiting for data in `waited`, and the batch in `batch`."""
        if self.train_function is not None and not force:
            return
        strategy = self.distribute_strategy

        def step(data):
            logs = strategy.run(self.train_step, args=(data,))
            return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

        traced = {}

        def train_function(iterator):
            # The stream's own signature: one trace, whatever the sizes of the batches.
            if not traced:
                # Nothing here is control flow by tensors, whose conversion takes a third of the tracing.
                traced["step"] = tf.function(step, input_signature=[iterator.element_spec], autograph=False)
            begin = time.perf_counter()
            data = next(iterator)
            self.waited += time.perf_counter() - begin
            self.__dict__["batch"] = data  # Keras would wrap and track what is set as an attribute
            return traced["step"](data)

        self.waited = 0.0
        self.train_function = train_function

    def _clip(self, gradients):
        """Clips the sum over replicas; shares it out again, since the optimizer sums over replicas."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        gradients = [over_replicas(tf.convert_to_tensor(g)) for g in gradients]
        clipped, _ = tf.clip_by_global_norm(gradients, self.clip_norm * self.optimizer.scale_loss(1.0))
        return [g / replicas for g in clipped]

    def _track(self, terms, images):
        """Means over images; a replica holds its share of a sum, hence the factor."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        weight = tf.reduce_sum(tf.cast(images["ids"] >= 0, tf.float32))
        for name, value in {"loss": self._loss(terms), **terms}.items():
            self.trackers[name].update_state(value * replicas, sample_weight=weight)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Builds the optimizer; Keras would also build the model, with the mean over replicas of each entry."""
        if self.optimizer is not None and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    # Saving and serving.

    def get_config(self):
        return {**self.arguments, "classes": list(self.classes), "name": self.name, "dtype": self.dtype_policy.name}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def get_compile_config(self):
        """A saved model holds no optimizer; a run is resumed from its checkpoint."""
        return None

    def save_preset(self, folder, published=None, license=None, source=None):
        """Writes a preset, see `kerasdet.weights.presets`.

        Args:
            folder: made where it does not exist.
            published: dict of what was measured, such as {"AP": 0.251, "data": "COCO test-dev"}.
            license, source: of the weights.
        """
        from kerasdet.weights import presets  # from above: a verb of every detector all the same

        presets.save(self, folder, published, license, source)

    @classmethod
    def from_preset(cls, preset, classes=None):
        """Makes the detector of a preset.

        Args:
            preset: a preset's folder or the name of a released model.
            classes: names of other classes: the class head is new but for the rows of classes that stay by name; what
                was loaded, skipped and left out is printed.

        Returns:
            A `Detector` of this class.

        Raises:
            FileNotFoundError: there is no such preset.
            ValueError: it is damaged, or of another class.
        """
        from kerasdet.training import start
        from kerasdet.weights import presets

        source = presets.load(preset)
        if not isinstance(source, cls):
            raise ValueError(f"{preset} is a preset of {type(source).__name__}, not of {cls.__name__}.")
        if classes is None:
            return source
        model = type(source).from_config({**source.get_config(), "classes": classes})
        print(start.table(start.copy(source, model, preset), preset))
        return model

    def export(self, filepath, format="tf_saved_model", **kwargs):
        """Writes a file that runs without kerasdet, see `kerasdet.export`.

        Args:
            filepath: folder of the SavedModel, or name of the TFLite file.
            format: "tf_saved_model", or "litert" for TFLite.
            kwargs: to `export.saved_model.write` or `export.tflite.write`; Keras' `verbose` is passed over.

        Raises:
            ValueError: the format is another.
        """
        from kerasdet.export import saved_model, tflite

        formats = {"tf_saved_model": saved_model, "litert": tflite}
        if format not in formats:
            raise ValueError(f"format must be one of {tuple(formats)}, got {format!r}.")
        kwargs.pop("verbose", None)
        formats[format].write(self, filepath, **kwargs)


def _sum(a, b):
    """Of two gradients, of which one of a weight that the loss does not reach is None."""
    return b if a is None else a if b is None else a + b
