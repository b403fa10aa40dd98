"""How widely brain phantoms differ from each other: the one place where the spread is set."""

from __future__ import annotations

from dataclasses import dataclass, fields

from AdvSegLib.errors import BadRequest

Range = tuple[float, float]
"""Smallest and largest value of a uniform draw."""


@dataclass(frozen=True)
class BrainVariation:
    """The spread of brain phantoms. Ranges are uniform draws, one a case unless said otherwise.

    Anatomy:
      * ``scale``: size of the head against the atlas; each axis varies by a further 3 %.
      * ``rotation_deg``: largest tilt about each axis. ``shift_mm``: largest shift along each axis.
      * ``warp_mm``: standard deviation of the smooth random displacement along each axis.
      * ``atrophy``: how far CSF spaces widen, 0 (young) to 1 (old).
      * ``individuality``: standard deviation of the noise that makes one cortex differ from the next.
      * ``strip_mm``: how deep the skull stripping cuts (negative leaves a rim of CSF). ``skull_mm``: how deep the
        dark skull begins (negative: outside the brain); where the cut goes beyond it, the edge is dark.

    Tumour:
      * ``whole_ml``: volume of the whole tumour, drawn log-uniformly. ``core_fraction``: its core's share.
      * ``low_grade_probability``: no enhancement, label 1 is the non-enhancing core.
      * ``solid_probability``: an enhancing core without necrosis, among the other tumours.
      * ``rim_fraction``: thickness of the enhancing rim as a fraction of the core's radius.
      * ``rim_gaps``: how unevenly thick the rim is, 0 (even) to 1 (missing in places).
      * ``uptake``: T1gd intensity of enhancing tumour relative to white matter before contrast jitter.
      * ``mass_effect``: push on the surrounding tissue as a fraction of the core's radius.

    Elsewhere in the head:
      * ``vessel_probability``: vessels and sinuses enhance on T1gd. ``meninges_probability``: so do meninges.
      * ``hyperintensity_probability``: bright periventricular caps on FLAIR and T2, unlabelled.

    Scanner, drawn anew for each channel:
      * ``white_level``: raw intensity of white matter, log-uniform, arbitrary units.
      * ``tissue_jitter``, ``lesion_jitter``: standard deviation of the log of each tissue's intensity.
      * ``texture``: standard deviation of intensity within a tissue, as a fraction; double within lesions.
      * ``bias``: standard deviation of the log of the bias field. ``gamma``: exponent of the contrast curve.
      * ``blur_mm``: full width at half maximum of the point spread.
      * ``thick_slice_probability``, ``thick_slice_mm``: slices this thick, along one of the three axes.
      * ``noise``: standard deviation of each quadrature channel's noise as a fraction of white
        matter (Rician), log-uniform.
    """

    scale: Range = (0.88, 1.0)
    rotation_deg: float = 8.0
    shift_mm: float = 5.0
    warp_mm: float = 2.5
    atrophy: Range = (0.0, 1.0)
    individuality: Range = (0.6, 1.2)
    strip_mm: Range = (-0.5, 2.5)
    skull_mm: Range = (-5.0, 1.5)

    whole_ml: Range = (15.0, 150.0)
    core_fraction: Range = (0.12, 0.6)
    low_grade_probability: float = 0.18
    solid_probability: float = 0.08
    rim_fraction: Range = (0.2, 0.6)
    rim_gaps: Range = (0.1, 0.8)
    uptake: Range = (1.05, 1.75)
    mass_effect: Range = (0.05, 0.45)

    vessel_probability: float = 0.75
    meninges_probability: float = 0.2
    hyperintensity_probability: float = 0.4

    white_level: Range = (200.0, 2500.0)
    tissue_jitter: float = 0.08
    lesion_jitter: float = 0.1
    texture: Range = (0.01, 0.05)
    bias: Range = (0.01, 0.12)
    gamma: Range = (0.88, 1.14)
    blur_mm: Range = (0.5, 3.5)
    thick_slice_probability: float = 0.35
    thick_slice_mm: Range = (4.0, 6.5)
    noise: Range = (0.006, 0.06)

    def __post_init__(self) -> None:
        """Refuse ranges that run backwards and probabilities outside 0 to 1."""
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, tuple) and not value[0] <= value[1]:
                raise BadRequest(f"{item.name} must run from small to large, got {value}")
            if item.name.endswith("_probability") and not 0 <= value <= 1:
                raise BadRequest(f"{item.name} must lie in 0 to 1, got {value}")
        if min(self.scale[0], self.whole_ml[0], self.white_level[0], self.noise[0]) <= 0 or self.core_fraction[0] <= 0:
            raise BadRequest("scale, whole_ml, core_fraction, white_level and noise must be positive")
