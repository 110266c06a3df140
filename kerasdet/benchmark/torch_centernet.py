"""CenterNet in PyTorch, as its paper draws it, to be timed beside ours: its release has no package to install."""

import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional


def conv(inputs, channels, size=3, stride=1, active=True):
    """Convolution, norm and activation."""
    layers = [nn.Conv2d(inputs, channels, size, stride, size // 2, bias=False), nn.BatchNorm2d(channels)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if active else []))


class Deformable(nn.Module):
    """Modulated deformable convolution, norm and ReLU."""

    def __init__(self, inputs, channels):
        super().__init__()
        self.offset = nn.Conv2d(inputs, 27, 3, padding=1)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)
        self.conv, self.norm = nn.Conv2d(inputs, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x):
        offset, mask = self.offset(x).split((18, 9), dim=1)
        x = torchvision.ops.deform_conv2d(
            x, offset, self.conv.weight, self.conv.bias, padding=1, mask=torch.sigmoid(mask)
        )
        return functional.relu_(self.norm(x))


class ResNet(nn.Module):
    """A ResNet and its deconvolutions, each after a deformable convolution if there are any (figure 6b)."""

    def __init__(self, name, channels, deformable):
        super().__init__()
        net = getattr(torchvision.models, name)(weights=None)
        self.body = nn.Sequential(*list(net.children())[:-2])
        inputs, layers = net.fc.in_features, []
        for count in channels:
            if deformable:
                layers.append(Deformable(inputs, count))
                inputs = count
            layers += [nn.ConvTranspose2d(inputs, count, 4, 2, 1, bias=False), nn.BatchNorm2d(count), nn.ReLU(True)]
            inputs = count
        self.neck = nn.Sequential(*layers)
        self.channels = inputs

    def forward(self, x):
        return self.neck(self.body(x))


class Up(nn.Module):
    """Iterative aggregation: every coarser map is projected, up-sampled, added to the one before and mixed."""

    def __init__(self, inputs, channels, factors, block):
        super().__init__()
        self.projections = nn.ModuleList([block(count, channels) for count in inputs])
        self.nodes = nn.ModuleList([block(channels, channels) for _ in inputs])
        self.resizers = nn.ModuleList([
            nn.ConvTranspose2d(channels, channels, 2 * factor, factor, factor // 2, groups=channels, bias=False)
            for factor in factors
        ])  # fmt: skip

    def forward(self, maps):
        x, found = maps[0], []
        for project, resize, node, coarse in zip(self.projections, self.resizers, self.nodes, maps[1:], strict=True):
            x = node(resize(project(coarse)) + x)
            found.append(x)
        return found


class DLA(nn.Module):
    """timm's DLA-34 with the up-sampling of figure 6c, by convolutions or by deformable ones (6d)."""

    def __init__(self, deformable):
        super().__init__()
        self.body = timm.create_model("dla34", pretrained=False, features_only=True, out_indices=(2, 3, 4, 5))
        block = Deformable if deformable else conv
        counts = self.body.feature_info.channels()
        # After a pass, the maps that it merged have the channels of the finest among them.
        passes = [(counts[2:3] + counts[3:], counts[2]), (counts[1:2] + 2 * counts[2:3], counts[1])]
        passes.append((counts[:1] + 3 * counts[1:2], counts[0]))
        self.ups = nn.ModuleList(
            [Up(inputs[1:], channels, [2] * (len(inputs) - 1), block) for inputs, channels in passes]
        )
        self.last = Up(counts[1:3], counts[0], (2, 4), block)
        self.channels = counts[0]

    def forward(self, x):
        maps = self.body(x)
        best = [maps[-1]]
        for i, up in enumerate(self.ups):
            first = len(maps) - 2 - i
            maps[first + 1 :] = up(maps[first:])
            best.insert(0, maps[-1])
        return self.last(best[:3])[-1]


class CenterNet(nn.Module):
    """Body and heads.

    Args:
        body: a `ResNet` or a `DLA`.
        width: channels of the heads' first convolution.
        classes: number of classes.
    """

    def __init__(self, body, width, classes):
        super().__init__()
        self.body = body
        self.heads = nn.ModuleDict()
        for name, count in {"heat": classes, "size": 2, "offset": 2}.items():
            first, last = nn.Conv2d(body.channels, width, 3, padding=1), nn.Conv2d(width, count, 1)
            self.heads[name] = nn.Sequential(first, nn.ReLU(inplace=True), last)

    def forward(self, x):
        x = self.body(x)
        return {name: head(x) for name, head in self.heads.items()}


def detect(model, pictures, count=100):
    """The best peaks [B, count]: boxes in network pixels, scores and classes."""
    said = model(pictures)
    heat = said["heat"].sigmoid()
    heat = heat * (functional.max_pool2d(heat, 3, 1, 1) == heat)
    height, width = heat.shape[-2:]
    scores, places = heat.flatten(1).topk(count)
    classes, cells = places // (height * width), places % (height * width)

    def at(values):
        return values.flatten(2).gather(2, cells[:, None].expand(-1, 2, -1)).transpose(1, 2)

    center = torch.stack([cells % width, cells // width], dim=-1) + at(said["offset"])
    half = at(said["size"]) / 2
    return 4 * torch.cat([center - half, center + half], dim=-1), scores, classes


def loss(model, pictures, boxes, classes):
    """Equations 1 to 4; Gaussians of a third of the box, because their exact radius takes no time to speak of."""
    said = model(pictures)
    score, (height, width) = said["heat"].sigmoid().clamp(1e-4, 1 - 1e-4), said["heat"].shape[-2:]
    center, size = (boxes[..., :2] + boxes[..., 2:]) / 8, (boxes[..., 2:] - boxes[..., :2]) / 4
    cell, spread = center.floor(), size.amin(-1).clamp(min=1)[..., None] / 18
    across = torch.exp(-((torch.arange(width) - cell[..., :1]) ** 2) / (2 * spread**2))
    down = torch.exp(-((torch.arange(height) - cell[..., 1:]) ** 2) / (2 * spread**2))
    bumps = down[..., :, None] * across[..., None, :]
    heat = torch.zeros_like(score)
    heat.scatter_reduce_(1, classes[..., None, None].expand_as(bumps), bumps, "amax")
    peak = heat == 1
    terms = torch.where(peak, (1 - score) ** 2 * score.log(), (1 - heat) ** 4 * score**2 * (1 - score).log())
    cells = (cell[..., 1] * width + cell[..., 0]).long()

    def at(values):
        return values.flatten(2).gather(2, cells[:, None].expand(-1, 2, -1)).transpose(1, 2)

    apart = (at(said["offset"]) - (center - cell)).abs().mean() + 0.1 * (at(said["size"]) - size).abs().mean()
    return -terms.sum() / peak.sum() + apart


# By the forms of `configs/centernet/coco.py`: the body and the heads' width. There the DLA is deformable.
FORMS = {
    "r18": lambda: (ResNet("resnet18", (256, 256, 256), False), 64),
    "r18_dcn": lambda: (ResNet("resnet18", (256, 128, 64), True), 64),
    "dla34": lambda: (DLA(True), 256),
    "dla34_plain": lambda: (DLA(False), 256),
}
