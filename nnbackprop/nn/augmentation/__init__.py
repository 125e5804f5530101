"""Random transformations of images in training: shift, rotate, shear, scale, flip, elastic, noise, cutout."""

from .augmentation import Augmentation, ImageAugmenter
from .transforms import TRANSFORMS, parse_transform

__all__ = ["TRANSFORMS", "Augmentation", "ImageAugmenter", "parse_transform"]
