"""Runs a detector over a data set and scores it, holding one batch of images at a time."""

import functools
import itertools

import keras
import numpy as np
import tensorflow as tf

from kerasdet import images as image
from kerasdet import views as view
from kerasdet.data import pipeline
from kerasdet.data import tiles as windowed
from kerasdet.evaluation import coco, curves
from kerasdet.evaluation import voc as pascal


class Evaluator:
    """Scores a detector as often as it is called.

    Boxes are scored, and masks and keypoints where the detector finds them and the data set has them.

    Args:
        model: a `Detector`.
        dataset: a `Dataset` with the model's classes, and the masks and keypoints that it needs.
        batch_size: images at once.
        tiles: None, or (size, overlap): the detector sees the windows of `data.tiles`, loss terms are those of the
            windows, and merged detections are scored on the whole pictures.
        max_dets: numbers of detections an image at which boxes and masks are scored, see `coco.check_max_dets`.
        sigmas: [P] floats, or one for all: how far a keypoint may lie off, relative to the object's size, in COCO's
            object keypoint similarity. None takes those of COCO's 17 points.
        voc: whether to add Pascal VOC's metrics, see `evaluation.voc.score`.
        views: what else the detector sees of each picture or window, as in `Detector.detect`; loss terms are those of
            the plain view, and merged detections are scored.

    Raises:
        ValueError: the data set lacks what the model needs, see `Detector.check`; `max_dets` or `sigmas` are wrong.
    """

    def __init__(
        self, model, dataset, batch_size=4, tiles=None, max_dets=coco.MAX_DETS, sigmas=None, voc=False, views=()
    ):
        model.check(dataset)
        if model.num_keypoints:
            coco.check_sigmas(sigmas, dataset.keypoints)
        self.model = model
        self.dataset = dataset
        self.tiles = tiles
        self.max_dets = coco.check_max_dets(max_dets)
        self.sigmas = sigmas
        self.voc = voc
        self.seen = dataset if tiles is None else windowed.dataset(dataset, *tiles)
        self.looks, self.batch_size = view.kinds(views, model.num_keypoints), batch_size
        self._prepare()
        self.truth = coco.ground_truth(dataset)
        self.records = {record.id: record for record in dataset.records}
        self.results = []
        self.evaluations = {}

    def _prepare(self):
        """The streams and graphs by the model's settings of now."""
        self.streams = [self._stream(self.seen, self.batch_size, **kind) for kind in self.looks]
        self._steps = [self._graph(stream, number == 0) for number, stream in enumerate(self.streams)]
        self.revision = self.model.revision

    def __call__(self):
        """Runs once over the data.

        Returns:
            Dict of the mean of every loss term, "loss", the numbers of `coco.summary` for boxes, and "threshold" and
            "F1" of `curves.threshold`; those of masks and keypoints as "segm/AP", "keypoints/AP" and so on; and VOC's
            "voc/AP2007" and "voc/AP2010" with dicts of them by class, "voc/per_class_AP2007" and so on. `results` then
            holds COCO's result dicts, `evaluations` the COCOeval of each kind: "bbox", "segm", "keypoints".
        """
        with pipeline.named(self.dataset):
            terms, kinds = self._run()
        self.evaluations = {
            kind: coco.evaluate(self.truth, self.results, kind, sigmas=self.sigmas, max_dets=self.max_dets)
            for kind in kinds
        }
        threshold, f1 = curves.threshold(self.evaluations["bbox"])
        numbers = {**coco.summary(self.evaluations["bbox"]), "threshold": threshold, "F1": f1}
        for kind in kinds[1:]:
            numbers.update({f"{kind}/{k}": v for k, v in coco.summary(self.evaluations[kind]).items()})
        if self.voc:
            numbers.update({f"voc/{k}": v for k, v in pascal.summary(self.truth, self.results).items()})
        losses = {"loss": sum(terms.values()), **terms} if terms else {}  # an exported file has none
        return {**losses, **numbers}

    def found(self, image_id):
        """COCO's result dicts of one image, best score first."""
        return sorted((one for one in self.results if one["image_id"] == image_id), key=lambda one: -one["score"])

    def _run(self):
        """Fills `results`; returns the mean of every loss term, and what is scored."""
        if self.revision != self.model.revision:
            self._prepare()
        self.results = []
        windows, sums, count = [], {}, 0
        progress = keras.utils.Progbar(len(self.streams[0]), unit_name="batch")
        for batches in zip(*self.streams, strict=True):
            answers = [step(*batch) for step, batch in zip(self._steps, batches, strict=True)]
            terms, found = answers[0]
            ids = batches[0][0]["ids"].numpy()
            real = int((ids >= 0).sum())
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value) * real
            count += real
            # Of each picture, or window, what each view showed.
            pictures = list(zip(*(_pictures(one, real) for _, one in answers), strict=True))
            if self.tiles is None:
                for image_id, parts in zip(ids, pictures, strict=False):
                    self._add(self.records[int(image_id)], parts)
            else:
                windows += pictures
            progress.add(1)
        if self.tiles is not None:
            self._merge(windows)
        kinds = [
            "bbox",
            *(["segm"] if "masks" in found and self.dataset.masked else []),
            *(["keypoints"] if "keypoints" in found and self.dataset.keypoints else []),
        ]
        return {name: value / count for name, value in sums.items()}, kinds

    def _merge(self, windows):
        """Fills `results` from the detections of all windows."""
        pairs = zip(windowed.places(self.dataset, *self.tiles), windows, strict=True)
        for number, group in itertools.groupby(pairs, lambda pair: pair[0][0]):
            places, parts = zip(*group, strict=True)
            self._add(self.dataset.records[number], itertools.chain(*parts), [box for _, box in places])

    def _add(self, record, parts, windows=None):
        """Adds what the views of one picture showed to `results`; masks as run lengths, so that no pasted one is held.

        Args:
            record: the picture's.
            parts: dicts of arrays, of each window and in it of each kind of view.
            windows: boxes in the picture; None for the whole picture.
        """
        whole = (0, 0, record.width, record.height)
        views = [view.View(box, **kind) for box in windows or [whole] for kind in self.looks]
        if windows is None and len(views) == 1:
            (found,) = parts
        else:
            found = view.merged(parts, views, self.model.suppression)
        if "masks" in found:
            found["segments"] = coco.pasted(found.pop("masks"), found["boxes"], record.height, record.width)
        batch = {key: [values] for key, values in found.items()}
        self.results += coco.results([record.id], {**batch, "counts": [len(found["scores"])]}, self.dataset)

    def _stream(self, dataset, batch_size, scale, flip, pairs):
        """The batches of a data set as a kind of view shows them."""
        preprocess = functools.partial(self.model.preprocess, scale=scale)
        preprocess(np.zeros([8, 8, 3], np.uint8))  # an exported file takes one scale alone, and says so here in a line
        mirrored = (("flip", 1.0),) if flip else ()
        return pipeline.load(dataset, preprocess, batch_size, masks=self.model.needs_masks, transforms=mirrored)

    def _graph(self, stream, plain):
        """From a batch to its loss terms, of the plain view alone, and its detections in the view's pixels."""

        def one_batch(images, objects):
            outputs = self.model.network(images, training=False)
            terms = self.model.loss_terms(outputs, objects, images, training=False) if plain else {}
            return terms, image.detections_from_frames(self.model.detections(outputs, images), images["frames"])

        return tf.function(one_batch, input_signature=stream.element_spec, autograph=False)


def _pictures(found, count):
    """The detections of the first pictures of a batch, a dict of arrays for each."""
    found = {name: values.numpy() for name, values in found.items()}
    counts = found.pop("counts")
    return [{name: values[i, : counts[i]] for name, values in found.items()} for i in range(count)]
