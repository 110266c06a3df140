"""Data: readers that turn annotation files into a `Dataset`, and the pipeline that feeds it to a detector."""

from kerasdet.data.dataset import Dataset, Record
from kerasdet.data.read import read
from kerasdet.data.split import split

__all__ = ["Dataset", "Record", "read", "split"]
