"""The same work done by other projects, if they are installed.

If torch crashes because TensorFlow was imported first, import torch first, as in RESULTS.md.
"""

import functools
import importlib.metadata

import tensorflow as tf

from kerasdet.benchmark.measure import Case
from kerasdet.weights import torchvision as builders


def detectors(name, classes, size, train_size, count, passing, inference, step):
    """The same detector in other projects.

    Args:
        name: name of torchvision's builder, or "efficientdet_" or "centernet_" and a form; others have no peer.
        classes: number of classes, without background.
        size: side of the picture at inference, pixels.
        train_size, count: side of the pictures of a training step, pixels, and their number.
        passing: number of scores that pass the threshold at inference; None keeps the threshold.
        inference, step: operations of both, for the floor.

    Returns:
        Dict from name to `Case`, one for each installed project that has this detector.
    """
    if name.startswith("efficientdet"):
        return effdet_models(name, classes, size, train_size, count, inference, step)
    if name.startswith("centernet"):
        return torch_centernets(name.removeprefix("centernet_"), classes, size, train_size, count, inference, step)
    if name not in builders.MODELS:
        return {}
    cases = torchvision_models(name, classes, size, train_size, count, passing, inference, step)
    return cases | (keras_hub_models(size, inference) if name == "retinanet_resnet50_fpn" else {})


def torchvision_models(name, classes, size, train_size, count, passing, inference, step):
    """One of torchvision's detectors on as many threads, in float32; arguments and result as in `detectors`."""
    try:
        import torch
        import torchvision
    except ImportError:
        return {}

    outputs = classes + (not name.startswith("retinanet"))

    def make(side):
        sides = {} if name.startswith("ssd") else {"min_size": side, "max_size": side}
        return getattr(torchvision.models.detection, name)(
            weights=None, weights_backbone=None, num_classes=outputs, **sides
        )

    detector, picture = make(size), [torch.rand(3, size, size)]
    for layer in detector.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0  # the statistics of this picture, because random weights would blow up activations
    with torch.no_grad():
        detector.train().backbone(torch.stack(2 * picture))
    detector.eval()
    owner, head = detector, getattr(detector, "head", None)
    if head is None:
        for layer in (detector.rpn.head.bbox_pred, detector.roi_heads.box_predictor.bbox_pred):
            torch.nn.init.zeros_(layer.weight)  # random deltas would move nearly all regions out of the picture
        owner, head = detector.roi_heads, detector.roi_heads.box_predictor
    logits = []
    hook = head.register_forward_hook(
        lambda module, inputs, outputs: logits.append(outputs["cls_logits"] if owner is detector else outputs[0])
    )
    with torch.no_grad():
        detector(picture)
    hook.remove()
    scores = logits[0].sigmoid() if name.startswith("retinanet") else logits[0].softmax(-1)[..., 1:]
    if passing is not None:
        owner.score_thresh = float(scores.flatten().topk(min(passing, scores.numel())).values[-1])

    learner = make(train_size).train()
    solver = torch.optim.SGD(learner.parameters(), lr=1e-6, momentum=0.9)
    pictures = [torch.rand(3, train_size, train_size) for _ in range(count)]
    boxes = torch_boxes(count, train_size)
    targets = [{"boxes": box, "labels": torch.randint(1, outputs, (8,))} for box in boxes]
    for target, low, high in zip(targets, *boxes.split(2, dim=-1), strict=True):
        if name.startswith("maskrcnn"):
            target["masks"] = torch.randint(0, 2, (8, train_size, train_size), dtype=torch.uint8)
        if name.startswith("keypointrcnn"):
            points = low[:, None] + torch.rand(8, 17, 2) * (high - low)[:, None]
            target["keypoints"] = torch.cat([points, torch.full((8, 17, 1), 2.0)], dim=-1)

    def train():
        solver.zero_grad(set_to_none=True)
        sum(learner(pictures, targets).values()).backward()
        solver.step()

    return {
        f"torchvision {torchvision.__version__} inference": Case(
            torch.no_grad()(lambda: detector(picture)), inference, 1
        ),
        f"torchvision {torchvision.__version__} step, its own norms": Case(train, step, count),
    }


def torch_boxes(count, size):
    """Eight random boxes of a picture, [count, 8, 4], pixels of pictures of this side, as a tensor of torch."""
    import torch

    corners = torch.rand(count, 8, 2) * 0.5 * size
    return torch.cat([corners, corners + (0.05 + 0.45 * torch.rand(count, 8, 2)) * size], dim=-1)


def effdet_models(name, classes, size, train_size, count, inference, step):
    """One of effdet's detectors, with its own hard suppression, in float32; arguments and result as in `detectors`."""
    try:
        import effdet
        import torch
    except ImportError:
        return {}

    def make(side):
        config = effdet.get_efficientdet_config(f"tf_{name}")
        config.image_size, config.num_classes = (side, side), classes
        return effdet.EfficientDet(config, pretrained_backbone=False)

    detector, picture = effdet.DetBenchPredict(make(size)).eval(), torch.rand(1, 3, size, size)
    learner = effdet.DetBenchTrain(make(train_size)).train()
    solver = torch.optim.SGD(learner.parameters(), lr=1e-6, momentum=0.9)
    pictures = torch.rand(count, 3, train_size, train_size)
    boxes = torch_boxes(count, train_size)
    targets = {"bbox": boxes, "cls": torch.randint(1, classes + 1, (count, 8)).float()}

    def train():
        solver.zero_grad(set_to_none=True)
        learner(pictures, targets)["loss"].backward()
        solver.step()

    version = importlib.metadata.version("effdet")
    return {
        f"effdet {version} inference": Case(torch.no_grad()(lambda: detector(picture)), inference, 1),
        f"effdet {version} step": Case(train, step, count),
    }


def torch_centernets(form, classes, size, train_size, count, inference, step):
    """A CenterNet of `torch_centernet`, in float32; a form, the rest and the result as in `detectors`."""
    try:
        import torch

        from kerasdet.benchmark import torch_centernet as peer
    except ImportError:
        return {}
    if form not in peer.FORMS:
        return {}
    detector, learner = (peer.CenterNet(*peer.FORMS[form](), classes) for _ in range(2))
    detector.eval()
    solver = torch.optim.SGD(learner.parameters(), lr=1e-6, momentum=0.9)
    picture, pictures = torch.rand(1, 3, size, size), torch.rand(count, 3, train_size, train_size)
    boxes = torch_boxes(count, train_size)
    numbers = torch.randint(0, classes, (count, 8))

    def train():
        solver.zero_grad(set_to_none=True)
        peer.loss(learner, pictures, boxes, numbers).backward()
        solver.step()

    infer = torch.no_grad()(lambda: peer.detect(detector, picture))
    return {
        f"torch {torch.__version__} inference": Case(infer, inference, 1),
        f"torch {torch.__version__} step": Case(train, step, count),
    }


def keras_hub_models(size, operations):
    """KerasHub's RetinaNet with its decoder, in float32; with an untrained head, nearly all anchors reach suppression.

    Args:
        size: side of the picture, pixels.
        operations: how many inference takes; they set the floor.

    Returns:
        Dict of name to `Case`, empty if KerasHub is not installed.
    """
    try:
        import keras_hub
    except ImportError:
        return {}
    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3], stackwise_num_strides=[1, 2, 2, 2], block_type="bottleneck_block",
        image_shape=(size, size, 3),
    )  # fmt: skip
    backbone = keras_hub.models.RetinaNetBackbone(
        image_encoder=encoder, min_level=3, max_level=7, use_p5=True, image_shape=(size, size, 3)
    )
    detector = keras_hub.models.RetinaNetObjectDetector(
        backbone=backbone, num_classes=91, bounding_box_format="xyxy", preprocessor=None
    )
    pixels = tf.random.stateless_normal([1, size, size, 3], (0, 0))
    decoded = tf.function(lambda x: detector.decode_predictions(detector(x, training=False), x), autograph=False)
    return {f"keras_hub {keras_hub.__version__} inference": Case(lambda: decoded(pixels), operations, 1)}


def torchvision_regions(cases):
    """torchvision's region operators on the same inputs.

    Args:
        cases: the cases from `operators.region_cases`.

    Returns:
        Dict of name to `Case`, empty if torchvision is not installed.
    """
    try:
        import torch
        import torchvision
    except ImportError:
        return {}
    ops = torchvision.ops
    functions = {
        "roi_align P2": lambda x, r: ops.roi_align(x, r, 7, 1 / 4, 2, True),
        "roi_align P4": lambda x, r: ops.roi_align(x, r, 7, 1 / 16, 2, True),
        "roi_pool C4": lambda x, r: ops.roi_pool(x, r, 7, 1 / 16),
        "ps_roi_align": lambda x, r: ops.ps_roi_align(x, r, 7, 1 / 16, 2),
        "ps_roi_pool": lambda x, r: ops.ps_roi_pool(x, r, 7, 1 / 16),
    }

    def forward(function, x, rois):
        with torch.no_grad():
            function(x, rois)

    def backward(function, x, rois):
        x.grad = None
        out = function(x, rois)
        out.backward(torch.ones_like(out))

    peers = {}
    for name, function in functions.items():
        _, features, rois = cases[name]
        x = torch.from_numpy(features.numpy()).permute(0, 3, 1, 2).contiguous().requires_grad_(True)
        boxes = torch.from_numpy(rois.numpy())
        peers[f"torchvision {name} forward"] = Case(functools.partial(forward, function, x, boxes))
        peers[f"torchvision {name} with gradients"] = Case(functools.partial(backward, function, x, boxes))
    return peers


def torchvision_suppression(cases):
    """torchvision's suppression on the same inputs.

    Args:
        cases: dict of name to a `functools.partial` of `ops.nms`; others are ignored.

    Returns:
        Dict of name to `Case`, empty if torchvision is not installed.
    """
    try:
        import torch
        import torchvision
    except ImportError:
        return {}
    peers = {}
    for name, case in cases.items():
        if not name.startswith("nms"):
            continue
        boxes, scores, classes, iou = case.args[:4]
        boxes, scores = (torch.from_numpy(x[0].numpy()) for x in (boxes, scores))
        classes = torch.zeros(len(boxes), dtype=torch.int64) if classes is None else torch.from_numpy(classes[0]).long()
        peers[f"torchvision {name}"] = Case(functools.partial(torchvision.ops.batched_nms, boxes, scores, classes, iou))
    return peers
