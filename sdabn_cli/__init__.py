"""sdabn: semantic segmentation and image denoising that boost each other."""

__version__ = "0.1.0"
