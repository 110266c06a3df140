"""Runs a detector over a data set and scores it, holding one batch of images at a time."""

import itertools

import keras
import tensorflow as tf

from kerasdet import images as image
from kerasdet import tiles as tile
from kerasdet.data import pipeline
from kerasdet.data import tiles as windowed
from kerasdet.evaluation import coco


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

    Raises:
        ValueError: the data set lacks what the model needs, see `Detector.check`; `max_dets` or `sigmas` are wrong.
    """

    def __init__(self, model, dataset, batch_size=4, tiles=None, max_dets=coco.MAX_DETS, sigmas=None):
        model.check(dataset)
        if model.num_keypoints:
            coco.check_sigmas(sigmas, dataset.keypoints)
        self.model = model
        self.dataset = dataset
        self.tiles = tiles
        self.max_dets = coco.check_max_dets(max_dets)
        self.sigmas = sigmas
        seen = dataset if tiles is None else windowed.dataset(dataset, *tiles)
        self.batches = pipeline.load(seen, model.preprocess, batch_size, masks=model.needs_masks)
        self.truth = coco.ground_truth(dataset)
        self.records = {record.id: record for record in dataset.records}
        self.results = []
        self.evaluations = {}
        self._step = tf.function(self._one_batch, input_signature=self.batches.element_spec, autograph=False)

    def __call__(self):
        """Runs once over the data.

        Returns:
            Dict of the mean of every loss term, "loss", the numbers of `coco.summary` for boxes, and "threshold" and
            "F1" of `coco.threshold`; those of masks and keypoints as "segm/AP", "keypoints/AP" and so on. `results`
            then holds COCO's result dicts, `evaluations` the COCOeval of each kind: "bbox", "segm", "keypoints".
        """
        with pipeline.named(self.dataset):
            terms, kinds = self._run()
        self.evaluations = {
            kind: coco.evaluate(self.truth, self.results, kind, sigmas=self.sigmas, max_dets=self.max_dets)
            for kind in kinds
        }
        threshold, f1 = coco.threshold(self.evaluations["bbox"])
        numbers = {**coco.summary(self.evaluations["bbox"]), "threshold": threshold, "F1": f1}
        for kind in kinds[1:]:
            numbers.update({f"{kind}/{k}": v for k, v in coco.summary(self.evaluations[kind]).items()})
        losses = {"loss": sum(terms.values()), **terms} if terms else {}  # an exported file has none
        return {**losses, **numbers}

    def found(self, image_id):
        """COCO's result dicts of one image, best score first."""
        return sorted((one for one in self.results if one["image_id"] == image_id), key=lambda one: -one["score"])

    def _run(self):
        """Fills `results`; returns the mean of every loss term, and what is scored."""
        self.results = []
        windows, sums, count = [], {}, 0
        progress = keras.utils.Progbar(len(self.batches), unit_name="batch")
        for images, objects in self.batches:
            terms, found = self._step(images, objects)
            real = int(tf.reduce_sum(tf.cast(images["ids"] >= 0, tf.int32)))
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value) * real
            count += real
            found = {name: values.numpy() for name, values in found.items()}
            counts = found.pop("counts")
            pictures = [{k: v[i, : counts[i]] for k, v in found.items()} for i in range(real)]
            if self.tiles is None:
                for image_id, picture in zip(images["ids"].numpy(), pictures, strict=False):
                    self._add(image_id, picture)
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
            places, found = zip(*group, strict=True)
            found = tile.merged(found, [box for _, box in places], self.model.suppression)
            self._add(self.dataset.records[number].id, found)

    def _add(self, image_id, found):
        """Adds what was found in one picture to `results`; masks as run lengths, so that no pasted one is held."""
        found = {**found}
        if "masks" in found:
            record = self.records[int(image_id)]
            found["segments"] = coco.pasted(found.pop("masks"), found["boxes"], record.height, record.width)
        batch = {key: [values] for key, values in found.items()}
        self.results += coco.results([image_id], {**batch, "counts": [len(found["scores"])]}, self.dataset)

    def _one_batch(self, images, objects):
        outputs = self.model.network(images, training=False)
        terms = self.model.loss_terms(outputs, objects, images, training=False)
        return terms, image.detections_from_frames(self.model.detections(outputs, images), images["frames"])
