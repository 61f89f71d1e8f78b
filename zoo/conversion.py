r"""Conversion: the spiking student that an ANN twin becomes, without training.

A twin is a student's architecture with activations in the place of its neurons (`neuron: relu` or `qcfs`). Over T steps
a soft-reset IF neuron of threshold theta and V_0 = theta / 2 whose current is X on average fires

    S = floor(T clip(X / theta, 0, 1) + 1/2)   times, if the spikes that it reads arrive evenly,

so theta S / T stands for the activation a(X). Conversion is three things:

    thresholds    a theta for every activation, by one of the `METHODS`
    absorption    spikes are 0 or 1: theta goes into the weights of the layers that read them, and 1 / theta into the
                  norm or linear layer that alone feeds a neuron; what cannot be absorbed stays in the neuron (`UnitIF`)
    correction    of the remaining error, optional: a constant current or an initial potential for every channel

One run of the twin shows where spikes go (`zoo.spike_paths`); a layer that is not linear in them is refused by name.
A check follows absorption: with each neuron's mean in the place of its spikes, the student must give the logits of its
twin.
"""

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from .errors import unknown
from .model import SpikingModel, evaluating, spiking_neurons
from .neurons import QCFS, Activation, ReLU, UnitIF, has_activations
from .neurons.activation import activations
from .registry.build import build, describe
from .sequence import to_sequence
from .spike_paths import CONVERTIBLE, Plan, plan_absorption
from .thresholds import conversion_thresholds, over_units, unit_means
from .trace import submodules, watching

METHODS: dict[str, type[Activation]] = {"qcfs": QCFS, "ltb": ReLU, "percentile": ReLU}
CALIBRATIONS = ("none", "bias", "potential")
STARTS = ("potential", "bias")


class Conversion(NamedTuple):
    """A converted student, and theta [C] of every neuron in the currents of the twin."""

    student: SpikingModel
    thresholds: dict[str, Tensor]


@dataclass(frozen=True)
class ConversionSettings:
    """How a twin is converted: the arguments of `convert`.

    Raises:
        ValueError: If one is unknown or out of range, or two exclude each other.
    """

    method: str | None = None
    steps: int = 8
    calibrate: str | None = None
    start: str = "potential"
    percentile: float = 99.9

    def __post_init__(self) -> None:
        for what, name, accepted in (
            ("conversion method", self.method, METHODS),
            ("calibration", self.calibrate, CALIBRATIONS),
            ("start", self.start, STARTS),
        ):
            if name is not None and name not in accepted:
                raise ValueError(unknown(what, str(name), accepted))
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"steps: expected an integer >= 1, found {self.steps!r}.")
        if not 0 < self.percentile <= 100:
            raise ValueError(f"percentile: expected a number in (0, 100], found {self.percentile}.")
        if self.calibrate == "potential" and self.start == "bias":
            raise ValueError(
                'calibrate="potential" sets initial potentials, and start="bias" is for hardware that has none. Choose '
                'calibrate="bias", or start="potential".'
            )


def convert(
    ann: SpikingModel,
    batches: Sequence[Tensor],
    method: str | None = None,
    steps: int = 8,
    calibrate: str | None = None,
    start: str = "potential",
    percentile: float = 99.9,
) -> SpikingModel:
    """The spiking student of an ANN twin: the same architecture, soft-reset IF neurons, binary spikes.

    Args:
        ann: A twin, such as `pool_vgg_s` with pool="avg", or `spiking_vgg11` with neuron="relu", pool="avg". It is left
            as it is.
        batches: Training images without labels and augmentation, [N, C, H, W] each; about 1,000 in all.
        method: Of the thresholds. "qcfs": the learned step, for a twin of `QCFS`. "ltb" (local threshold balancing):
            one for each channel, theta += 2 mean(relu(x - theta)) batch after batch, for a twin of `ReLU`.
            "percentile": that of the activation, one for each layer, likewise. None: "qcfs" or "ltb", as the twin is.
        steps: Steps T that the student is made for, and shows an image for.
        calibrate: What corrects the mean error of every channel, layer after layer: "bias" (a constant current),
            "potential" (the initial potential) or None.
        start: "potential" (V_0 = theta / 2), or "bias" for hardware that cannot start so: V_0 = 0 and a constant
            current theta / (2 T), which is the same after T steps.
        percentile: Of the method "percentile", in (0, 100].

    Returns:
        The student, in evaluation mode.

    Raises:
        ValueError: If ann is not a twin, does what spikes cannot (named by its layer), or an argument is wrong.

    Source:
        Bu et al. 2022, arXiv:2303.04347 (QCFS); Bu, Li and Yu 2024, arXiv:2409.03368 (LTB); Rueckauer et al. 2017,
        Frontiers in Neuroscience 11:682 (percentile); Li et al. 2021, arXiv:2106.06984 (calibration); Deng and Gu 2021,
        arXiv:2103.00476 (the shift by theta / (2 T)).
    """
    settings = ConversionSettings(method, steps, calibrate, start, percentile)
    return convert_with_thresholds(ann, batches, settings).student


def convert_with_thresholds(
    ann: SpikingModel, batches: Sequence[Tensor], settings: ConversionSettings | None = None
) -> Conversion:
    """What `convert` does, and the thresholds that it found."""
    how = settings or ConversionSettings()
    method = check_twin(ann, how.method)
    images = [still(x, ann) for x in batches]
    if not images:
        raise ValueError("batches: expected about 1,000 training images, found none.")
    with torch.no_grad(), evaluating(ann):
        plan = plan_absorption(ann, images[0][:, :2])
        warn_of_max_pools(plan)
        thresholds = conversion_thresholds(ann, plan.chans, images, method, how.percentile)
        student = build_student(ann, plan, how)
        absorb(student, plan, thresholds)
        check_absorbed(ann, student, plan, thresholds, images[0][:, :2])
        if how.start == "bias":
            for name, chans in plan.chans.items():
                add_current(student, plan, name, torch.full((chans,), 0.5 / how.steps))
        if how.calibrate in ("bias", "potential"):
            correct(ann, student, plan, thresholds, images, how.calibrate)
    return Conversion(student, thresholds)


# Refusals -------------------------------------------------------------------------------------------------------------


def check_twin(ann: nn.Module, method: str | None) -> str:
    """The method; if it is None, the first one that takes the activation of the twin.

    Raises:
        ValueError: If ann is not an ANN twin, or the twin of another method.
    """
    twin = "pool_vgg_s with pool: avg, or a student such as spiking_vgg11 with neuron: relu and pool: avg"
    if not isinstance(ann, SpikingModel):
        name = getattr(ann, "pretrained_cfg", {}).get("architecture", type(ann).__name__)
        other = next((f" Its layer {n} is {type(m).__name__}." for n, m in ann.named_modules() if is_nonlinear(m)), "")
        raise ValueError(f"{name} is not the ANN twin of a student.{other} Train and convert a twin: {twin}.")
    for name, neuron in spiking_neurons(ann).items():
        raise ValueError(f"{name} is {type(neuron).__name__}, which spikes already. Convert its twin: {twin}.")
    if not has_activations(ann):
        raise ValueError(f"{type(ann).__name__} has no activations in the place of neurons. Convert a twin: {twin}.")
    first = activations(ann)[0][1]
    method = method or next(name for name, kind in METHODS.items() if isinstance(first, kind))
    kind = METHODS[method]
    for name, module in activations(ann):
        if not isinstance(module, kind):
            fitting = [known for known, of in METHODS.items() if isinstance(module, of)]
            raise ValueError(
                f"method {method}: expected {kind.__name__} activations, found "
                f"{type(module).__name__} at {name}. Choose method {' or '.join(fitting)}, or train a twin with "
                f"neuron: {kind.__name__.lower()}."
            )
    return method


def warn_of_max_pools(plan: Plan) -> None:
    """Warn of max-pools that read fluctuating currents; `check_absorbed` feeds means, so it cannot see them."""
    if plan.max_pools:
        warnings.warn(
            f"{', '.join(plan.max_pools)}: the maximum of currents that fluctuate is too high at any T, so the error "
            "of a max-pool does not shrink with T. Train the twin with pool: avg, or convert another architecture.",
            stacklevel=4,
        )


def is_nonlinear(module: nn.Module) -> bool:
    """Whether a module is an activation or a norm of torch."""
    return type(module).__module__ in ("torch.nn.modules.activation", "torch.nn.modules.normalization")


def still(x: Tensor, ann: SpikingModel) -> Tensor:
    """A sequence [1, N, C, H, W] of still images, on the device of the model.

    Raises:
        ValueError: If x has several steps.
    """
    parameter = next(ann.parameters())
    x = to_sequence(x, ann.kind).to(parameter.device, parameter.dtype)
    if len(x) != 1:
        raise ValueError(
            f"conversion: expected still images (T = 1), found sequences of {len(x)} steps, and an activation "
            "has no memory of earlier steps. Train the student on sequences itself."
        )
    return x


# Absorption -----------------------------------------------------------------------------------------------------------


def build_student(ann: SpikingModel, plan: Plan, how: ConversionSettings) -> SpikingModel:
    """The student with the weights of its twin, not scaled yet, in evaluation mode."""
    about = describe(ann)
    plain = plan.absorbed and how.calibrate != "potential"  # no neuron needs a threshold or a start of its own
    neuron: dict[str, Any] = {"name": "if", "v_reset": None} if plain else {"name": "unit_if"}
    spec = neuron | ({"v_init": 0.5} if how.start == "potential" else {})
    name = about["architecture"]
    name = f"spiking_{name}" if timm.is_model(f"spiking_{name}") else name
    student = build(name, **{**about["model_args"], "neuron": spec, "num_steps": how.steps})
    student.pretrained_cfg.update(about["pretrained_cfg"])
    own = {f"{layer}.{key}" for layer, module in activations(ann) for key in module.state_dict()}
    weights = {key: value for key, value in ann.state_dict().items() if key not in own}
    neurons = {key: value for key, value in student.state_dict().items() if key.rpartition(".")[0] in plan.chans}
    student.load_state_dict(weights | neurons)
    return student.to(next(ann.parameters())).eval()


def absorb(student: SpikingModel, plan: Plan, thresholds: dict[str, Tensor]) -> None:
    """Put theta into the weights on both sides of every neuron, and what is left into the neuron."""
    for layer, unit in plan.reads.items():
        scale_inputs(student.get_submodule(layer), thresholds[unit])
    for layer, unit in plan.gives.items():
        module: Any = student.get_submodule(layer)
        for numbers in (module.weight, module.bias):
            if numbers is not None:
                numbers.div_(thresholds[unit].to(numbers).view(-1, *[1] * (numbers.ndim - 1)))
    for name, counted_in in plan.units.items():
        neuron = student.get_submodule(name)
        if isinstance(neuron, UnitIF):
            counted = thresholds[counted_in] if counted_in else torch.ones_like(thresholds[name])
            neuron.threshold.copy_(thresholds[name] / counted)


def scale_inputs(layer: nn.Module, theta: Tensor) -> None:
    """Multiply the weights of a layer by theta [C] of the channels that it reads, be they flattened maps."""
    weight: Any = layer.weight
    groups = getattr(layer, "groups", 1)
    inputs = theta.repeat_interleave(weight.shape[1] * groups // len(theta)).view(groups, -1)
    of_rows = inputs.repeat_interleave(len(weight) // groups, 0)  # [C', C / groups]
    weight.mul_(of_rows.to(weight).view(*weight.shape[:2], *[1] * (weight.ndim - 2)))


def check_absorbed(
    ann: SpikingModel, student: SpikingModel, plan: Plan, thresholds: dict[str, Tensor], x: Tensor
) -> None:
    """Refuse (ValueError) a student that does not give the logits of its twin.

    To compare, neurons give clip(x / theta, 0, 1), and activations theta times that.
    """
    twin, mean = copy.deepcopy(ann).double(), copy.deepcopy(student).double()
    mean.num_steps = 1

    def clip(name: str, module: nn.Module, args: tuple[Tensor], out: Tensor) -> Tensor:
        # Not `out`: the rounding of QCFS could hide an error.
        return torch.minimum(args[0].clamp(min=0), over_units(thresholds[name], out))

    def rate(name: str, neuron: nn.Module, args: tuple[Tensor], out: Tensor) -> Tensor:
        theta, unit = over_units(thresholds[name], out), plan.units[name]
        current = args[0] * (over_units(thresholds[unit], out) if unit else 1)
        return torch.minimum(current.clamp(min=0), theta) / theta

    with watching(submodules(twin, plan.chans), clip), watching(submodules(mean, plan.chans), rate):
        found, expected = mean(x.double()), twin(x.double())
    if not torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * max(expected.abs().max().item(), 1e-12)):
        raise ValueError(f"{type(ann).__name__}: expected the logits of the twin, found others. {CONVERTIBLE}")


def add_current(student: SpikingModel, plan: Plan, name: str, amount: Tensor) -> None:
    """Add a constant current [C], in units of the threshold, to what a neuron gets at every step."""
    giver = plan.givers.get(name)
    numbers: Any = student.get_submodule(giver).bias if giver else student.get_submodule(name).shift
    numbers.add_(amount.to(numbers))


# Correction -----------------------------------------------------------------------------------------------------------


def mean_outputs(model: SpikingModel, names: Sequence[str], images: Sequence[Tensor]) -> dict[str, Tensor]:
    """The mean [C] over all images of what activations or neurons give."""
    sums: dict[str, Tensor] = {}

    def note(name: str, module: nn.Module, args: tuple[Tensor], out: Tensor) -> None:
        sums[name] = sums.get(name, 0) + unit_means(out) * out.shape[1]

    with watching(submodules(model, names), note):
        for x in images:
            model(x)
    count = sum(x.shape[1] for x in images)
    return {name: total / count for name, total in sums.items()}


def correct(
    ann: SpikingModel,
    student: SpikingModel,
    plan: Plan,
    thresholds: dict[str, Tensor],
    images: Sequence[Tensor],
    calibrate: str,
) -> None:
    r"""Correct the mean error of every channel, e = mean(a - theta S / T), layer after layer.

    As a constant current, += e; or as an initial potential, += T e. Over T steps both are the same charge.
    """
    expected = mean_outputs(ann, list(plan.chans), images)
    for name, theta in thresholds.items():
        error = expected[name] / theta - mean_outputs(student, [name], images)[name]  # in units of theta
        neuron = student.get_submodule(name)
        if calibrate == "potential" and isinstance(neuron, UnitIF):
            neuron.v_init.add_(student.num_steps * error.to(neuron.v_init))
        else:
            add_current(student, plan, name, error)
