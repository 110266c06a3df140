"""Faster R-CNN: a network proposes regions on the very features that Fast R-CNN classifies them by."""

import keras

from kerasdet import anchors, clusters
from kerasdet.detectors import fast_rcnn
from kerasdet.detectors.fast_rcnn import FastRCNN
from kerasdet.layers import RPN

# Arguments of the paper's form on VGG16 (sections 3.1 to 3.3): one map of stride 16, nine anchors a cell.
VGG16 = {
    **fast_rcnn.VGG16,
    "sizes": ((128, 256, 512),),
    "rpn_width": 512,
    "rpn_outputs": 2,
    "crossing": False,
    "rpn_side": 16.0,
    "before_nms": (12000, 6000),
    "after_nms": (2000, 300),
    "negative": 0.0,
    "roi_batch": 128,
}

# The paper's smaller network, ZF, with half of the channels.
ZF = {**VGG16, "backbone": "zf", "rpn_width": 256, "roi_size": 6}

# ResNet-C4 (He et al., CVPR 2016, appendix A): conv5_x runs on every region; fifteen anchors as Detectron has them.
C4 = {
    "levels": (4, 4),
    "sizes": ((32, 64, 128, 256, 512),),
    "rpn_width": 1024,
    "before_nms": (12000, 6000),
    "after_nms": (2000, 1000),
    "roi_size": 14,
    "res5": True,
    "fc": (),
}


@keras.saving.register_keras_serializable("kerasdet")
class FasterRCNN(FastRCNN):
    """Faster R-CNN (Ren et al., NIPS 2015, arXiv:1506.01497), by default on a feature pyramid (FPN, CVPR 2017).

    `FasterRCNN(classes, **VGG16)`, `**ZF` and `**C4` are its forms on a single map. Proposals that images carry take
    the place of its own.

    Args:
        classes: names of the classes, or their number.
        sizes: anchors' sizes on every level; with a pyramid there is one level more (FPN, section 4.1).
        ratios: anchors' heights over widths (section 3.1.1).
        torchvision_anchors: whole-pixel anchors on the cells' corners, as torchvision's weights expect; as there, those
            outside the pictures learn too.
        anchor_offset: center of the first anchor of other forms, in cells; 0 in Detectron2.
        rpn_depth, rpn_width: 3x3 convolutions of the proposal network (section 3.1), and their channels.
        rpn_outputs: 2 for the paper's softmax over background and object, 1 for a sigmoid.
        rpn_positive, rpn_negative: IoU of positive and of background anchors (section 3.1.2).
        rpn_batch, rpn_fraction: anchors per image that the proposal network learns from, and the greatest share of
            positives (section 3.1.3).
        rpn_beta: where its smooth L1 turns from square to line.
        crossing: whether anchors that cross the picture's border learn (section 3.3: no).
        before_nms: anchors per level that may become proposals, in training and at inference (section 3.3).
        after_nms: proposals per image, in training and at inference.
        rpn_suppression: IoU above which the weaker of two proposals of a level is dropped (section 3.3).
        rpn_side: least side of a proposal, pixels of the original picture; 16 in the release of the paper's forms.
        kwargs: of `FastRCNN`.
    """

    terms = (*RPN.terms, "class", "box")
    needs_proposals = False

    def __init__(
        self, classes,
        # Anchors (section 3.1.1).
        sizes=((32,), (64,), (128,), (256,), (512,)), ratios=(0.5, 1.0, 2.0), torchvision_anchors=False,
        anchor_offset=0.5,
        # The proposal network (figure 3), and what it learns (sections 3.1.2, 3.1.3 and 3.3).
        rpn_depth=1, rpn_width=256, rpn_outputs=1, rpn_positive=0.7, rpn_negative=0.3, rpn_batch=256, rpn_fraction=0.5,
        rpn_beta=1 / 9, crossing=True,
        # Proposals (section 3.3).
        before_nms=(2000, 1000), after_nms=(2000, 1000), rpn_suppression=0.7, rpn_side=1e-3, **kwargs,
    ):  # fmt: skip
        super().__init__(classes, **kwargs)
        strides = self.strides if self.fpn is None else (*self.strides, 2 * self.strides[-1])
        placed = anchors.TORCHVISION if torchvision_anchors else {"offset": anchor_offset}
        self.anchors = anchors.Anchors(anchors.shapes(sizes, ratios), strides, **placed)
        self.rpn = RPN(
            self.anchors, rpn_depth, rpn_width, rpn_outputs, rpn_positive, rpn_negative, rpn_batch, rpn_fraction,
            "first" if self.order == "first" else "random", rpn_beta, crossing, torchvision_anchors, before_nms,
            after_nms, rpn_suppression, rpn_side,
        )  # fmt: skip
        self.sizes, self.ratios = sizes, ratios

    def features(self, images, training=False):
        """The maps that regions are proposed on, a list of [B, H, W, C]; a pyramid's last is for proposals alone."""
        maps = super().features(images, training)
        return maps if self.fpn is None else [*maps, maps[-1][:, ::2, ::2]]  # P6 (FPN, section 4.1, footnote 1)

    def network(self, images, training=False):
        maps = self.features(images, training)
        outputs = {"features": maps, **self.rpn(maps, training=training)}
        proposals = images.get("proposals")
        return {**outputs, "proposals": self.proposals(outputs, images, training) if proposals is None else proposals}

    def proposals(self, outputs, images, training=False):
        """See `layers.RPN.proposals`; another stage may learn from these (section 3.2)."""
        return self.rpn.proposals(outputs, images, training)

    def match(self, objects, images):
        """See `Detector`; of the proposal network's anchors (section 3.1.2)."""
        return self.rpn.match(objects, images)

    def loss_terms(self, outputs, objects, images, training=True):
        terms = super().loss_terms(outputs, objects, images, training)
        return {**self.rpn_terms(outputs, objects, images, training), **terms}

    def rpn_terms(self, outputs, objects, images, training=True):
        """The loss of the proposal network (equation 1), see `layers.RPN.loss_terms`."""
        return self.rpn.loss_terms(outputs, objects, images, self.step(training), self.seed)

    @property
    def positive_iou(self):
        """See `Detector`; of the proposal network."""
        return self.rpn.positive

    def fitted(self, boxes, sizes):
        return clusters.fit_sizes(boxes, self.anchors.strides, self.sizes, self.ratios, self.rpn.positive)

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        proposals = {"rpn_width": 32, "rpn_batch": 64, "before_nms": (100, 50), "after_nms": (50, 30)}
        return {**super().tiny(), "sizes": ((16,), (32,), (64,), (96,)), "ratios": (1.0,), **proposals}
