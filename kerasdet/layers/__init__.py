"""Layers own weights."""

from kerasdet.layers.bifpn import BiFPN as BiFPN
from kerasdet.layers.blocks import in_blocks as in_blocks
from kerasdet.layers.composite import Composite as Composite
from kerasdet.layers.conv import Conv as Conv
from kerasdet.layers.conv import Deconv as Deconv
from kerasdet.layers.conv import DepthwiseConv as DepthwiseConv
from kerasdet.layers.conv import SeparableConv as SeparableConv
from kerasdet.layers.conv import Upsample as Upsample
from kerasdet.layers.conv import leaky as leaky
from kerasdet.layers.deform import DeformConv as DeformConv
from kerasdet.layers.dense import FC as FC
from kerasdet.layers.heads import CellHead as CellHead
from kerasdet.layers.heads import ConvHead as ConvHead
from kerasdet.layers.heads import Extra as Extra
from kerasdet.layers.heads import MapHeads as MapHeads
from kerasdet.layers.inverted import Excite as Excite
from kerasdet.layers.inverted import InvertedResidual as InvertedResidual
from kerasdet.layers.norm import L2Norm as L2Norm
from kerasdet.layers.pixels import Pixels as Pixels
from kerasdet.layers.pixels import image_size as image_size
from kerasdet.layers.pyramid import FPN as FPN
from kerasdet.layers.regions import BoxHead as BoxHead
from kerasdet.layers.regions import RegionPredictor as RegionPredictor
from kerasdet.layers.rpn import RPN as RPN
