"""The table of released models: where they are, what they are, who made them, and what they reach.

Figures are those of the releases themselves. `sha256` is the whole digest or, as in the names of torchvision's files,
its first digits; "" where the release tells none: such a file is checked by its tensors alone. This module imports
nothing of TensorFlow, so that the table can be shown at once.
"""

from typing import NamedTuple

_TORCHVISION = "https://download.pytorch.org/models/"
_DETECTRON2 = "https://dl.fbaipublicfiles.com/detectron2/"
_TENSORFLOW = "https://download.tensorflow.org/models/object_detection/"
_CENTERNET = "https://github.com/xingyizhou/CenterNet, readme/MODEL_ZOO.md"


class Released(NamedTuple):
    """A released model.

    detector: name of the class.
    task: "boxes", "masks" or "keypoints".
    published: dict of what was measured, in 0...1, and "data", on which data.
    parameters: their number as the release counts them, statistics of frozen norms left out; None where it is not told.
    read: key of `released.READERS`.
    license: of the weights.
    source: who released them.
    url: of the file; None where no server gives it plainly, so that it must be fetched by hand.
    sha256: see above.
    """

    detector: str
    task: str
    published: dict
    parameters: int | None
    read: str
    license: str
    source: str
    url: str | None
    sha256: str


def _torchvision(file, detector, parameters, task="boxes", **published):
    source = f"torchvision: {file.partition('_coco')[0]}, trained on COCO"
    digits = file.rpartition("-")[2].removesuffix(".pth")
    published = {**published, "data": "COCO val2017"}
    license = "BSD-3-Clause, as torchvision"
    return Released(
        detector, task, published, parameters, "tensors", license, source, f"{_TORCHVISION}{file}", digits
    )  # fmt: skip


def _detectron2(path, detector, task="boxes", **published):
    source = f"Detectron2's model zoo: {path.split('/')[1]}"
    published, url = {**published, "data": "COCO val2017"}, f"{_DETECTRON2}{path}"
    return Released(detector, task, published, None, "tensors", "Apache-2.0, as Detectron2", source, url, "")


def _tensorflow(file, digits, **published):
    published = {**published, "data": "a part of COCO val"}
    source = f"TensorFlow Object Detection API: {file}, 300 x 300, trained on COCO"
    license = "Apache-2.0, as TensorFlow's models"
    return Released("SSD", "boxes", published, None, "tensors", license, source, f"{_TENSORFLOW}{file}.tar.gz", digits)


def _centernet(file, task="boxes", **published):
    published = {**published, "data": "COCO val2017, without flips"}
    source = f"CenterNet, Objects as Points: {file} of {_CENTERNET}"
    return Released("CenterNet", task, published, None, "tensors", "MIT, as CenterNet", source, None, "")


RELEASED = {
    "ssd_mobilenet_v1_coco": Released(
        "SSD", "boxes", {"AP": 0.203, "AP50": 0.361, "data": "158 pictures of COCO val2017, measured in float"}, None,
        "ssd_mobilenet_v1", "Apache-2.0, as TensorFlow's demonstration of object detection, whose model it is",
        "TensorFlow Object Detection API: SSD on MobileNetV1 0.75, 300 x 300, quantized, trained on COCO",
        "https://github.com/Nazmul1607081/tensorflow-light-android-app/raw/"
        "608ce23d26da51f20132362fa01eabd3272c38a8/app/src/main/assets/detect.tflite",
        "e4b118e5e4531945de2e659742c7c590f7536f8d0ed26d135abcfe83b4779d13",
    ),
    "ssd_mobilenet_v1_1.0_coco": _tensorflow(
        "ssd_mobilenet_v1_coco_2018_01_28", "8788f89108519fd1102b8a5c2ac861cf6d86603571b6ce5bbd1c245b7fe005e3", AP=0.21
    ),
    "ssd_mobilenet_v2_coco": _tensorflow(
        "ssd_mobilenet_v2_coco_2018_03_29", "b9380178b2e35333f1a735e39745928488bdabeb9ed20bc6fa07af8172cb5adc", AP=0.22
    ),
    "ssdlite_mobilenet_v2_coco": _tensorflow(
        "ssdlite_mobilenet_v2_coco_2018_05_09", "542445cce834dbfbb7df1991425d475e85a2d7ec68c60a4f262bb18aac10c8b2",
        AP=0.22,
    ),
    "yolov3_tiny_coco": Released(
        "YOLOv3", "boxes", {"AP50": 0.331, "data": "COCO test-dev"}, None, "yolov3_tiny", "public domain, as darknet",
        "darknet: YOLOv3-tiny, 416 x 416, trained on COCO", "https://pjreddie.com/media/files/yolov3-tiny.weights",
        "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
    ),
    "fasterrcnn_resnet50_fpn_coco": _torchvision(
        "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", "FasterRCNN", 41_755_286, AP=0.370
    ),
    "fasterrcnn_resnet50_fpn_v2_coco": _torchvision(
        "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth", "FasterRCNN", 43_712_278, AP=0.467
    ),
    "maskrcnn_resnet50_fpn_coco": _torchvision(
        "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", "MaskRCNN", 44_401_393, "masks", AP=0.379, mask_AP=0.346
    ),
    "maskrcnn_resnet50_fpn_v2_coco": _torchvision(
        "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth", "MaskRCNN", 46_359_409, "masks", AP=0.474, mask_AP=0.418
    ),
    "keypointrcnn_resnet50_fpn_coco": _torchvision(
        "keypointrcnn_resnet50_fpn_coco-fc266e95.pth", "MaskRCNN", 59_137_258, "keypoints", AP=0.546, keypoint_AP=0.650
    ),
    "retinanet_resnet50_fpn_coco": _torchvision(
        "retinanet_resnet50_fpn_coco-eeacb38b.pth", "RetinaNet", 34_014_999, AP=0.364
    ),
    "retinanet_resnet50_fpn_v2_coco": _torchvision(
        "retinanet_resnet50_fpn_v2_coco-5905b1c5.pth", "RetinaNet", 38_198_935, AP=0.415
    ),
    "ssd300_vgg16_coco": _torchvision("ssd300_vgg16_coco-b556d3b4.pth", "SSD", 35_641_826, AP=0.251),
    "ssdlite320_mobilenet_v3_large_coco": _torchvision(
        "ssdlite320_mobilenet_v3_large_coco-a79551df.pth", "SSD", 3_440_060, AP=0.213
    ),
    "detectron2_faster_rcnn_r50_c4_1x": _detectron2(
        "COCO-Detection/faster_rcnn_R_50_C4_1x/137257644/model_final_721ade.pkl", "FasterRCNN", AP=0.357
    ),
    "detectron2_faster_rcnn_r50_fpn_1x": _detectron2(
        "COCO-Detection/faster_rcnn_R_50_FPN_1x/137257794/model_final_b275ba.pkl", "FasterRCNN", AP=0.379
    ),
    "detectron2_faster_rcnn_r50_fpn_3x": _detectron2(
        "COCO-Detection/faster_rcnn_R_50_FPN_3x/137849458/model_final_280758.pkl", "FasterRCNN", AP=0.402
    ),
    "detectron2_faster_rcnn_r101_fpn_3x": _detectron2(
        "COCO-Detection/faster_rcnn_R_101_FPN_3x/137851257/model_final_f6e8b1.pkl", "FasterRCNN", AP=0.420
    ),
    "detectron2_mask_rcnn_r50_fpn_3x": _detectron2(
        "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl", "MaskRCNN", "masks",
        AP=0.410, mask_AP=0.372,
    ),
    "detectron2_keypoint_rcnn_r50_fpn_3x": _detectron2(
        "COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x/137849621/model_final_a6e10b.pkl", "MaskRCNN", "keypoints",
        AP=0.554, keypoint_AP=0.655,
    ),
    "detectron2_retinanet_r50_fpn_1x": _detectron2(
        "COCO-Detection/retinanet_R_50_FPN_1x/190397773/model_final_bfca0b.pkl", "RetinaNet", AP=0.374
    ),
    "detectron2_retinanet_r50_fpn_3x": _detectron2(
        "COCO-Detection/retinanet_R_50_FPN_3x/190397829/model_final_5bd44e.pkl", "RetinaNet", AP=0.387
    ),
    "detectron2_retinanet_r101_fpn_3x": _detectron2(
        "COCO-Detection/retinanet_R_101_FPN_3x/190397697/model_final_971ab9.pkl", "RetinaNet", AP=0.404
    ),
    "centernet_resdcn18_coco": _centernet("ctdet_coco_resdcn18.pth", AP=0.281),
    "centernet_resdcn101_coco": _centernet("ctdet_coco_resdcn101.pth", AP=0.346),
    "centernet_dla34_1x_coco": _centernet("ctdet_coco_dla_1x.pth", AP=0.363),
    "centernet_dla34_2x_coco": _centernet("ctdet_coco_dla_2x.pth", AP=0.374),
    "centernet_hourglass104_coco": _centernet("ctdet_coco_hg.pth", AP=0.403),
}  # fmt: skip
