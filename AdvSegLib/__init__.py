"""Adversarial robustness of medical-image segmentation. Heavy libraries load only when something uses them."""

__version__ = "0.1.0"
