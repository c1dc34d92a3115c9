"""Data that image GANs learn from: folders and zips, published sets in their own layouts, crops of one picture, and
points of the plane; with labels, and by number, so that the order is the training's business.
"""

from texsyn.datasets.dataset import Dataset
from texsyn.datasets.opening import describe, is_dataset, open_dataset

__all__ = ["Dataset", "describe", "is_dataset", "open_dataset"]
