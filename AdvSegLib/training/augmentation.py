"""Augmentation of training batches with MONAI's transforms, by short names that recipes list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AdvSegLib.errors import BadRequest, unknown_name

KEYS = ("image", "label", "soft")
"""What a geometric transform moves together; ``soft``, a teacher's cached probabilities, may be missing."""
MODES = ("bilinear", "nearest", "bilinear")
SHARED: dict[str, Any] = {"keys": KEYS, "allow_missing_keys": True}


def _flip(axis: int) -> Callable[[int], Any]:
    def build(dims: int) -> Any:
        from monai.transforms import RandFlipd

        return RandFlipd(**SHARED, prob=0.5, spatial_axis=axis)

    return build


def _affine(dims: int) -> Any:
    from monai.transforms import RandAffined

    return RandAffined(
        **SHARED, prob=0.5, rotate_range=[0.15] * (dims if dims == 3 else 1), scale_range=[0.12] * dims,
        translate_range=[6] * dims, mode=MODES, padding_mode="border",
    )  # fmt: skip


def _elastic(dims: int) -> Any:
    from monai.transforms import Rand2DElasticd, Rand3DElasticd

    if dims == 2:
        return Rand2DElasticd(
            **SHARED, prob=0.3, spacing=(32, 32), magnitude_range=(0.5, 2.5), mode=MODES, padding_mode="border"
        )
    return Rand3DElasticd(
        **SHARED, prob=0.2, sigma_range=(6, 9), magnitude_range=(30, 90), mode=MODES, padding_mode="border"
    )


def _elastic_003(dims: int) -> Any:
    from AdvSegLib.training.transforms import RandomSmoothWarp

    if dims == 2:
        return RandomSmoothWarp(**SHARED, orders=(3, 0, 1), prob=0.5)
    raise BadRequest("augmentation 'elastic-003' is of 2-D images; volumes have 'elastic'")


def _rotate_axial(dims: int) -> Any:
    from monai.transforms import RandRotate90d

    return RandRotate90d(**SHARED, prob=0.75, max_k=3, spatial_axes=(dims - 2, dims - 1))


def _transpose_axial(dims: int) -> Any:
    from AdvSegLib.training.transforms import RandomTranspose

    return RandomTranspose(**SHARED, prob=0.5)


def _image_only(name: str, **options: Any) -> Callable[[int], Any]:
    def build(dims: int) -> Any:
        import monai.transforms as transforms

        return getattr(transforms, name)(("image",), **options)

    return build


def _low_resolution(dims: int) -> Any:
    from monai.transforms import RandSimulateLowResolutiond

    mode = "trilinear" if dims == 3 else "bilinear"
    return RandSimulateLowResolutiond(("image",), prob=0.2, upsample_mode=mode, zoom_range=(0.4, 1.0))


AUGMENTATIONS: dict[str, Callable[[int], Any]] = {
    "flip-axis-0": _flip(0),
    "flip-axis-1": _flip(1),
    "flip-axis-2": _flip(2),
    "affine": _affine,
    "elastic": _elastic,
    "elastic-003": _elastic_003,
    "rotate-axial": _rotate_axial,
    "transpose-axial": _transpose_axial,
    "noise": _image_only("RandGaussianNoised", prob=0.3, std=0.15),
    "blur": _image_only("RandGaussianSmoothd", prob=0.2, sigma_x=(0.3, 1.2), sigma_y=(0.3, 1.2), sigma_z=(0.3, 1.2)),
    "contrast": _image_only("RandAdjustContrastd", prob=0.3, gamma=(0.65, 1.5), retain_stats=True),
    "scale": _image_only("RandScaleIntensityd", prob=0.5, factors=0.2, channel_wise=True),
    "shift": _image_only("RandShiftIntensityd", prob=0.5, offsets=0.2, channel_wise=True),
    "low-resolution": _low_resolution,
}
"""Short name to a builder of the transform, given the number of spatial dims."""


class Augmentation:
    """Transforms applied in the order named, their draws a function of the seed and the sample's number alone."""

    def __init__(self, names: Sequence[str], dims: int, seed: int) -> None:
        from monai.transforms import Compose

        for name in names:
            if name not in AUGMENTATIONS:
                raise unknown_name("augmentation", name, AUGMENTATIONS)
        self.seed = seed
        self.transforms = Compose([AUGMENTATIONS[name](dims) for name in names]) if names else None

    def __call__(
        self, image: NDArray[np.float32], label: NDArray[np.uint8], number: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Augment sample ``number`` of the training: ``(C, *spatial)`` intensities and ``(*spatial)`` labels."""
        image, label, _ = self.together(image, label, None, number)
        return image, label

    def together(
        self, image: NDArray[np.float32], label: NDArray[np.uint8], soft: NDArray[np.floating] | None, number: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32] | None]:
        """Augment, and move ``soft`` ``(K, *spatial)`` as the image is moved, by linear interpolation."""
        if self.transforms is None:
            return image, label, None if soft is None else soft.astype(np.float32)
        self.transforms.set_random_state(seed=(self.seed * 1_000_003 + number) % 2**32)
        parts = {"image": image, "label": label[None].astype(np.float32)}
        out = self.transforms(parts if soft is None else {**parts, "soft": soft.astype(np.float32)})
        moved = None if soft is None else np.asarray(out["soft"], np.float32)
        return np.asarray(out["image"], np.float32), np.asarray(out["label"])[0].round().astype(np.uint8), moved
