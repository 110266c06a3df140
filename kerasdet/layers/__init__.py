"""Layers own weights."""

from kerasdet.layers.conv import Conv as Conv
from kerasdet.layers.heads import ConvHead as ConvHead
from kerasdet.layers.pixels import Pixels as Pixels
from kerasdet.layers.pyramid import FPN as FPN
