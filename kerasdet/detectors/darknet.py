"""Any cfg of darknet as a detector: the layers are those of its text, the heads those of YOLOv1, v2 and v3."""

import keras

from kerasdet.backbones import cfg as cfgs
from kerasdet.detectors import settings
from kerasdet.detectors.yolo import YOLO
from kerasdet.detectors.yolov1 import DetectionHead
from kerasdet.detectors.yolov2 import RegionHead
from kerasdet.detectors.yolov3 import YOLOHead


@keras.saving.register_keras_serializable("kerasdet")
class Darknet(YOLO):
    """A detector from the text of a cfg, as `weights.darknet` imports it.

    Args:
        classes: names of the classes, or their number; where the cfg has another, its heads get as many, and so do the
            filters before them.
        cfg: text of the cfg.
        resize: of `Detector`; None for a letterbox of the cfg's size, or where its head is YOLOv1's, a stretch to it.
        kwargs: of `YOLO`.
    """

    heads = {"detection": DetectionHead, "region": RegionHead, "yolo": YOLOHead}

    def __init__(self, classes, cfg, resize=None, norm="batch", **kwargs):
        classes = settings.names(classes)
        read = cfgs.parse(cfg)
        net, *sections = cfgs.with_classes(read, len(classes))
        size = tuple(net.values[key] for key in ("height", "width"))
        kinds = [one.kind for one in sections if one.kind in cfgs.HEADS]
        if resize is None:
            rule = "darknet_stretch" if "detection" in kinds else "darknet_letterbox"
            resize = (rule, *size)
        self.keeps_cfg = [net, *sections] == read and tuple(resize[1:]) == size
        cut = next((i for i, one in enumerate(sections) if one.kind in cfgs.HEADS), 1) - 1
        super().__init__(classes, sections, cut, norm, resize=resize, **kwargs)

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        conv = "[convolutional]\nbatch_normalize=1\npad=1\nactivation=leaky\n"
        text = "[net]\nheight=96\nwidth=96\n"
        for filters in (8, 16, 32, 32):
            text += f"{conv}size=3\nstride=2\nfilters={filters}\n"
        text += f"{conv}size=3\nfilters=32\n[shortcut]\nfrom=-2\nactivation=linear\n"
        text += "[convolutional]\nfilters=21\nactivation=linear\n"
        text += "[yolo]\nclasses=2\nnum=3\nanchors=16,16,40,40,64,64\nignore_thresh=0.7\n"
        return {"classes": ["square", "disc"], "cfg": text, "resize": ("keep",)}
