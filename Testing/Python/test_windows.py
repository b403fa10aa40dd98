"""Windowed passes against the whole graph of MONAI's sliding_window_inference; exactness of what saves memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn

from AdvSegLib.attacks import ASMA, FGSM, PGD, Attack, MomentumFGSM, Square
from AdvSegLib.budgets import Budget
from AdvSegLib.cases.chest_phantom import chest_cases
from AdvSegLib.errors import BadRequest
from AdvSegLib.labels import LabelScheme
from AdvSegLib.losses import soft_dice
from AdvSegLib.metrics.overlap import overlap_of_masks
from AdvSegLib.segmenters import segmenter as segmenter_module
from AdvSegLib.segmenters.catalogue import load_model
from AdvSegLib.segmenters.memory import Relief, lighter
from AdvSegLib.segmenters.segmenter import Segmenter
from AdvSegLib.segmenters.spec import Intensity, Spec, Windows
from AdvSegLib.targets import Targeted, Untargeted

SCHEME = LabelScheme.softmax("a", "b")


def a_network(dims: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(3)
    conv = nn.Conv3d if dims == 3 else nn.Conv2d
    norm = nn.InstanceNorm3d if dims == 3 else nn.InstanceNorm2d
    return nn.Sequential(
        conv(2, 6, 3, padding=1), norm(6), nn.GELU(), conv(6, 6, 3, padding=1), nn.ReLU(), conv(6, 3, 3, padding=1)
    ).to(dtype)


def by_monai(network: nn.Module, x: Tensor, windows: Windows) -> Tensor:
    """MONAI's windows with one graph over all of them; mirroring written out."""
    axes = [axis + 2 for axis in windows.mirror]
    subsets = [[a for k, a in enumerate(axes) if pick >> k & 1] for pick in range(2 ** len(axes))]

    def predictor(window: Tensor) -> Tensor:
        seen = [network(window.flip(s)).flip(s) if s else network(window) for s in subsets]
        return sum(seen[1:], seen[0]) / len(seen)

    z: Any = sliding_window_inference(
        x, windows.size, windows.batch, predictor, windows.overlap, windows.blend, windows.sigma
    )
    assert isinstance(z, Tensor)
    return z


def gradients(
    network: nn.Module, x: Tensor, windows: Windows, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    segmenter = Segmenter(network, Spec.plain(SCHEME, dims=x.ndim - 2, channels=2, windows=windows))
    target = SCHEME.encode(labels, x.dtype)
    found = []
    for logits in (segmenter.logits, lambda leaf: by_monai(network, leaf, windows)):
        leaf = x.clone().requires_grad_()
        z = logits(leaf)
        (g,) = torch.autograd.grad(soft_dice(z, target, SCHEME).sum(), leaf)
        found += [z.detach(), g]
    return found[0], found[1], found[2], found[3]


@pytest.mark.parametrize("windows", [
    Windows((8, 8, 8)), Windows((8, 6, 10), 0.5, "constant"), Windows((7, 9, 8), 0.7, "gaussian", 0.2, batch=3),
    Windows((8, 8, 8), 0.5, mirror=(0, 2)), Windows((30, 8, 8), 0.3), Windows((16, 14, 18)),
    Windows((5, 5, 5), 0.0, "constant"),
])  # fmt: skip
def test_gradient_equals_the_whole_graph_in_3d(windows: Windows) -> None:
    x = torch.rand(2, 2, 16, 14, 18)
    labels = torch.randint(0, 3, (2, 16, 14, 18))
    z, g, z_monai, g_monai = gradients(a_network(3), x, windows, labels)
    assert (z - z_monai).abs().max() < 1e-5 * z_monai.abs().max()
    assert (g - g_monai).norm() < 1e-6 * g_monai.norm()
    sure = g_monai.abs() > 1e-5 * g_monai.abs().max()
    assert sure.float().mean() > 0.9
    assert torch.equal(g.sign()[sure], g_monai.sign()[sure])
    if windows.batch == 1 and not windows.mirror:
        assert torch.equal(z, z_monai)
        assert torch.equal(g, g_monai), "the same sums in the same order: the same bits"


@settings(max_examples=25, deadline=None)
@given(
    dims=st.sampled_from([2, 3]), sides=st.lists(st.integers(4, 10), min_size=3, max_size=3),
    size=st.lists(st.integers(3, 11), min_size=3, max_size=3), overlap=st.floats(0, 0.8),
    blend=st.sampled_from(["constant", "gaussian"]), mirror=st.booleans(), batch=st.integers(1, 5),
    n=st.integers(1, 2),
)  # fmt: skip
def test_gradient_equals_the_whole_graph_in_float64(
    dims: int, sides: list[int], size: list[int], overlap: float, blend: Any, mirror: bool, batch: int, n: int
) -> None:
    windows = Windows(tuple(size[:dims]), overlap, blend, mirror=(dims - 1,) if mirror else (), batch=batch)
    generator = torch.Generator().manual_seed(sum(sides))
    x = torch.rand(n, 2, *sides[:dims], dtype=torch.float64, generator=generator)
    labels = torch.randint(0, 3, (n, *sides[:dims]), generator=generator)
    z, g, z_monai, g_monai = gradients(a_network(dims, torch.float64), x, windows, labels)
    assert (z - z_monai).abs().max() <= 1e-10 * z_monai.abs().max()
    assert (g - g_monai).abs().max() <= 1e-10 * g_monai.abs().max()


def test_windows_inside_the_whole_pipeline() -> None:
    """Intensities, resampling and padding around the windows are differentiated too."""
    network = a_network(3, torch.float64)
    spec = Spec.plain(
        SCHEME, channels=2, intensity=Intensity("zscore"), size=(6, 5, 7), multiple=2,
        windows=Windows((4, 4, 4), 0.4, mirror=(1,)),
    )  # fmt: skip
    x = torch.rand(1, 2, 5, 6, 4, dtype=torch.float64, requires_grad=True)
    segmenter = Segmenter(network, spec)
    assert torch.autograd.gradcheck(lambda t: segmenter.logits(t)[:, :, ::3, ::4, ::3], x, nondet_tol=1e-12)


def test_an_attack_through_windows_is_the_attack_on_the_whole_graph() -> None:
    network = a_network(3, torch.float64)
    windows = Windows((8, 8, 8), 0.5)
    x = torch.rand(2, 2, 12, 11, 13, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 12, 11, 13))

    class ByMonai(nn.Module):
        def forward(self, seen: Tensor) -> Tensor:
            return by_monai(network, seen, windows)

    attack, budget = PGD(steps=4), Budget.fixed(0.05)
    ours = attack(
        Segmenter(network, Spec.plain(SCHEME, channels=2)).windowed((8, 8, 8), overlap=0.5),
        x,
        Untargeted(labels),
        budget,
    )
    whole = attack(Segmenter(ByMonai(), Spec.plain(SCHEME, channels=2)), x, Untargeted(labels), budget)
    assert (ours.adversarial - whole.adversarial).abs().max() < 1e-10


def test_windows_are_another_model_than_one_forward() -> None:
    segmenter = Segmenter(a_network(3), Spec.plain(SCHEME, channels=2))
    x = torch.rand(1, 2, 16, 16, 16)
    assert not torch.allclose(segmenter.logits(x), segmenter.windowed((8, 8, 8)).logits(x), atol=1e-3)


def test_slices_of_a_volume_go_in_groups_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    network = a_network(2, torch.float64)
    segmenter = Segmenter(network, Spec.plain(SCHEME, dims=2, channels=2))
    x = torch.rand(2, 2, 7, 9, 8, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 7, 9, 8))
    run = PGD(steps=3)
    whole = run(segmenter, x, Untargeted(labels), Budget.fixed(0.1)).adversarial
    monkeypatch.setattr(segmenter_module, "SLICE_VOXELS", 3 * 72)
    seen: list[int] = []
    network.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    grouped = run(segmenter, x, Untargeted(labels), Budget.fixed(0.1)).adversarial
    assert max(seen) == 3
    assert (whole - grouped).abs().max() < 1e-12


def test_checkpointed_gradient_is_the_same() -> None:
    layers = [layer for _ in range(9) for layer in (nn.Conv3d(1, 1, 3, padding=1), nn.ELU())]
    network = nn.Sequential(*layers, nn.Conv3d(1, 3, 1)).double()
    plain = Segmenter(network, Spec.plain(SCHEME))
    x = torch.rand(1, 1, 9, 9, 9, dtype=torch.float64)
    goal = Targeted(torch.randint(0, 3, (1, 9, 9, 9)))
    again = Segmenter(network, Spec.plain(SCHEME), checkpointed=True)
    assert again.can_checkpoint
    results = [PGD(steps=3)(s, x, goal, Budget.fixed(0.1)).adversarial for s in (plain, again)]
    assert torch.equal(*results)


@pytest.mark.parametrize(("options", "message"), [
    ({"size": ()}, "positive size"), ({"size": (8, 0, 8)}, "positive size"), ({"overlap": 1.0}, "overlap must be"),
    ({"overlap": -0.1}, "overlap must be"), ({"blend": "cosine"}, "known: constant, gaussian"),
    ({"batch": 0}, "batch"),
    ({"mirror": (3,)}, "mirror must name"), ({"mirror": (1, 1)}, "mirror must name"), ({"sigma": 0.0}, "sigma"),
])  # fmt: skip
def test_bad_windows_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        Windows(**{"size": (8, 8, 8), **options})


def test_windows_of_the_wrong_rank_are_named() -> None:
    with pytest.raises(BadRequest, match="windows need 3 sizes"):
        Spec.plain(SCHEME, windows=Windows((8, 8)))


def test_a_spec_with_windows_survives_its_json() -> None:
    spec = Spec.plain(SCHEME, windows=Windows((8, 8, 8), 0.5, "constant", mirror=(0, 1)))
    assert Spec.from_dict(spec.to_dict()) == spec
    with pytest.raises(BadRequest, match="malformed"):
        Spec.from_dict({**spec.to_dict(), "windows": {"size": [8, 8, 8], "step": 3}})


# --- when memory runs out -------------------------------------------------------------------------------------------


class Greedy(nn.Module):
    """A network that "runs out of memory" above a number of voxels in a batch."""

    def __init__(self, network: nn.Module, limit: int) -> None:
        super().__init__()
        self.network, self.limit, self.refused = network, limit, 0

    def forward(self, x: Tensor) -> Tensor:
        if x[:, 0].numel() > self.limit and torch.is_grad_enabled():
            self.refused += 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        out: Tensor = self.network(x)
        return out


def test_fewer_windows_at_a_time_change_nothing() -> None:
    network = a_network(3, torch.float64)
    spec = Spec.plain(SCHEME, channels=2)
    x, goal = torch.rand(1, 2, 16, 16, 16, dtype=torch.float64), Untargeted(torch.randint(0, 3, (1, 16, 16, 16)))
    plain = Segmenter(network, spec).windowed((8, 8, 8), batch=4)
    greedy = Greedy(network, 8**3)
    result = PGD(steps=3)(Segmenter(greedy, spec).windowed((8, 8, 8), batch=4), x, goal, Budget.fixed(0.1))
    assert greedy.refused == 1
    assert result.notes == ("memory ran out: one window at a time",)
    assert (result.adversarial - PGD(steps=3)(plain, x, goal, Budget.fixed(0.1)).adversarial).abs().max() < 1e-12


def test_smaller_windows_are_said_aloud_and_the_attack_finishes() -> None:
    network = a_network(3)
    greedy = Greedy(network, 40**3)
    segmenter = Segmenter(greedy, Spec.plain(SCHEME, channels=2))
    x = torch.rand(1, 2, 44, 44, 44)
    goal = Untargeted(segmenter.predict(x))
    result = PGD(steps=2)(segmenter, x, goal, Budget.fixed(0.1))
    assert len(result.history) == 2
    assert "windows of 32 x 32 x 32 voxels, not the model's own pass" in result.notes[-1]
    assert result.history[1].loss > result.history[0].loss


@pytest.mark.parametrize("attack", [
    MomentumFGSM(steps=4, diversity=0.7), PGD(steps=3, random_start=True),
    ASMA(steps=4, beta=0.02, tau=0.01, iou_of="unclamped"), Square(steps=6),
])  # fmt: skip
def test_a_second_try_makes_the_same_draws(attack: Attack) -> None:
    """Memory runs out once, in the middle; what saves it gives the same numbers."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)]
    network = nn.Sequential(*layers).double()
    x, labels = torch.rand(1, 2, 12, 12, dtype=torch.float64), torch.randint(0, 3, (1, 12, 12))
    calls: list[int] = []

    def once(module: nn.Module, args: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise torch.cuda.OutOfMemoryError("Allocation on device 0 failed")

    goal = Targeted(labels)
    segmenter = Segmenter(network, Spec.plain(SCHEME, dims=2, channels=2))
    plain = attack(segmenter, x, goal, Budget.fixed(0.2)).adversarial
    network[0].register_forward_pre_hook(once)
    again = attack(segmenter, x, goal, Budget.fixed(0.2))
    assert again.notes == ("memory ran out: activations are computed again on the way back",)
    assert (again.adversarial - plain).abs().max() < 1e-12


def test_memory_that_cannot_be_saved_stays_an_error() -> None:
    segmenter = Segmenter(Greedy(a_network(3), 0), Spec.plain(SCHEME, channels=2))
    goal = Untargeted(torch.zeros(1, 16, 16, 16).long())
    with pytest.raises(torch.cuda.OutOfMemoryError):
        PGD(steps=1)(segmenter, torch.rand(1, 2, 16, 16, 16), goal, Budget.fixed(0.1))


def test_other_failures_are_not_taken_for_memory() -> None:
    relief = Relief(Segmenter(a_network(3), Spec.plain(SCHEME, channels=2)))

    def fail(segmenter: Segmenter) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        relief.run(fail)
    assert not relief.notes


def test_halved_windows_keep_the_networks_multiple() -> None:
    segmenter = Segmenter(nn.Conv3d(2, 3, 1), Spec.plain(SCHEME, channels=2, multiple=16)).windowed((96, 80, 16))
    step = lighter(segmenter)
    assert step is not None
    assert step[0].spec.windows is not None
    assert step[0].spec.windows.size == (48, 48, 16)


def test_bf16_gradients_attack_as_well_as_fp32_ones() -> None:
    """Gradients in bfloat16, the outcome judged in float32 on the shipped chest model."""
    segmenter = load_model("chest")
    case = next(iter(chest_cases(1, 4242, size=256)))
    image, truth = case.image(), case.truth()
    x, labels = segmenter.tensor(image), torch.from_numpy(truth.array).long()[None]
    bound = segmenter.on(image)
    reached = []
    for precision in ("fp32", "bf16"):
        result = PGD(steps=10)(bound, x, Untargeted(labels), Budget.of_range(x, 0.02), precision=precision)  # type: ignore[arg-type]
        assert result.adversarial.dtype == torch.float32
        after = bound.predict(result.adversarial)
        masks = [[side == value for value in segmenter.scheme.values] for side in (after, labels)]
        reached.append((result, float(overlap_of_masks(*masks)[1])))
    (fine, fine_iou), (coarse, coarse_iou) = reached
    assert not torch.equal(fine.adversarial, coarse.adversarial)
    first = [
        FGSM(loss="iou")(
            bound, x, Untargeted(labels), Budget.of_range(x, 0.02), precision=precision
        ).perturbation.sign()
        for precision in ("fp32", "bf16")
    ]  # of one step: signs of ten steps drift apart, their outcome does not
    assert (first[0] == first[1]).float().mean() > 0.85
    assert coarse_iou == pytest.approx(fine_iou, abs=0.05)
    assert fine_iou < 0.6
