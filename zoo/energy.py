"""What one inference costs: operations, spikes, size, and energy under stated assumptions.

Operations follow NeuroBench 2.3 (Yik et al. 2025, Nature Communications 16:1545), for students and ANNs. Every
call of a connection layer (Conv1d, Conv2d, Conv3d, Linear, DelayedLinear) is judged by its input x and weight w:

    dense      multiplications the layer makes: one per weight and output position; zero padding makes none
    effective  those of them where x != 0 and w != 0 (adding the bias is no multiplication)
    kind       AC if every value of x is in {-1, 0, 1}, otherwise MAC

The kind belongs to the whole call. Our students fold time into the batch, so a call holds T * N samples and one analog
value makes all of them MACs: the count errs against us. Sums of spikes (SEW-ADD) and averages of spikes are MACs.

A product of two activations (`MatMul`, as q @ k^T in attention) makes n * k * m multiplications; effective are those
of two numbers != 0, and all are ACs if every value of one of the two is in {-1, 0, 1}.

The recurrent weights of a neuron are such a layer too; it is called once a step, with the spikes of the step before.

Energy is operations times a constant per operation, in one of two conventions:

    effective  E = mac_pj * effective MACs + ac_pj * effective ACs
    paper      E = mac_pj * dense of the encoder + ac_pj * SOPs,    SOPs = sum of rate * dense over all other layers

SNN papers print the second (Spikformer, Zhou et al. 2023; Spike-driven Transformer, Yao et al. 2023). The encoder is
every layer that runs before the first neuron has fired, on an input not all in {-1, 0, 1}. In an ANN it is every layer,
which leaves E = mac_pj * dense. Any later layer accumulates at the rate of its input, a SEW sum or pooled
spikes. The rate is mean |x|, as in syops-counter: a 2 is two spikes and costs two additions, and average pooling keeps
the number of spikes; that of a product of two activations is the rate of the first that is of spikes (of the first, if
none is). Yao et al. take the share of nonzero values; on binary spikes the two are equal. `dense` holds all T steps as
they ran: an encoder that runs once on a still image counts once. Papers also count zero padding, which is more.

NOT counted, by either convention: memory traffic (often the larger part, arXiv:2409.08290), neuron updates,
normalisation, pooling, additions, products value by value, products of two activations outside a `MatMul` (those of
timm's attention), and weights used outside their layer's forward (nn.MultiheadAttention). The numbers of an artificial
transformer are therefore lower bounds.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .errors import unknown
from .layers.delayed_linear import DelayedLinear
from .layers.stateless import MatMul
from .model import evaluating
from .neurons import Neuron
from .trace import watching

Connection = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear | DelayedLinear
CONVENTIONS = ("effective", "paper")


@dataclass(frozen=True)
class EnergyModel:
    """Energy of one multiply-accumulate and of one accumulate, in pJ."""

    name: str
    mac_pj: float
    ac_pj: float


HOROWITZ_45NM = EnergyModel("45 nm fp32", mac_pj=4.6, ac_pj=0.9)
"""Multiply 3.7 pJ + add 0.9 pJ (Horowitz, "Computing's energy problem", ISSCC 2014)."""


@dataclass(frozen=True)
class LayerCost:
    """One connection layer or `MatMul`; operations are per inference (one sample, all T steps), 0 if it never ran.

    Attributes:
        name: Name in `model.named_modules()`.
        kind: Class name.
        dense: Multiplications with nothing skipped.
        macs: Effective multiply-accumulates.
        acs: Effective accumulates.
        sops: Synaptic operations of the papers, mean |input| * dense; 0 for the encoder.
        input_density: Share of nonzero input values.
        weight_density: Share of nonzero weights; of nonzero values of the second activation.
        encoder: Whether the papers count the layer as dense MACs.
    """

    name: str
    kind: str
    dense: float
    macs: float
    acs: float
    sops: float
    input_density: float
    weight_density: float
    encoder: bool


@dataclass(frozen=True)
class Measurement:
    """What one inference of a model costs, averaged over `num_samples` samples.

    Attributes:
        num_samples: Number of samples measured.
        layers: One row per connection layer and `MatMul`.
        firing_rates: Mean output of every spiking layer, by name: spikes per neuron and step.
        spikes: Spikes per inference.
        neuron_steps: Neurons times steps per inference.
        parameters: Number of parameters, trainable and frozen.
        footprint_bytes: Bytes of parameters and buffers, zeros included.
        connection_sparsity: See `connection_sparsity`.
        parameter_sparsity: See `parameter_sparsity`.
    """

    num_samples: int
    layers: tuple[LayerCost, ...]
    firing_rates: dict[str, float]
    spikes: float
    neuron_steps: float
    parameters: int
    footprint_bytes: int
    connection_sparsity: float
    parameter_sparsity: float

    @property
    def dense(self) -> float:
        """Multiplications per inference with nothing skipped."""
        return sum(layer.dense for layer in self.layers)

    @property
    def macs(self) -> float:
        """Effective multiply-accumulates per inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def acs(self) -> float:
        """Effective accumulates per inference."""
        return sum(layer.acs for layer in self.layers)

    @property
    def sops(self) -> float:
        """Synaptic operations per inference as papers count them."""
        return sum(layer.sops for layer in self.layers)

    @property
    def firing_rate(self) -> float | None:
        """Spikes per neuron and step over the whole network; None if nothing spikes (an ANN)."""
        return self.spikes / self.neuron_steps if self.neuron_steps else None

    def energy_uj(self, convention: str = "effective", energy_model: EnergyModel = HOROWITZ_45NM) -> float:
        """Energy of one inference in µJ; the conventions and what they leave out: the module's docstring.

        Raises:
            ValueError: If the convention is neither "effective" nor "paper".
        """
        if convention not in CONVENTIONS:
            raise ValueError(unknown("energy convention", convention, CONVENTIONS))
        macs, acs = self.macs, self.acs
        if convention == "paper":
            macs, acs = sum(layer.dense for layer in self.layers if layer.encoder), self.sops
        return (energy_model.mac_pj * macs + energy_model.ac_pj * acs) * 1e-6

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values, with the totals and the default energies; floats to six decimals."""
        totals = {name: getattr(self, name) for name in ("dense", "macs", "acs", "sops", "firing_rate")}
        energies = {convention: self.energy_uj(convention) for convention in CONVENTIONS}
        record = totals | {"energy_uj": energies, "energy_model": asdict(HOROWITZ_45NM)} | asdict(self)
        return json.loads(json.dumps(record), parse_float=lambda digits: round(float(digits), 6))

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Measurement":
        """The measurement written by `to_dict`; totals and energies are computed again, not read.

        Raises:
            ValueError: If a field is missing or a layer has an unknown one.
        """
        try:
            values = {part.name: record[part.name] for part in fields(cls)}
            return cls(**values | {"layers": tuple(LayerCost(**layer) for layer in record["layers"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"Not a record of Measurement.to_dict(): {error}. Measure the model again.") from error


@dataclass
class _Tally:
    """Running sums of one layer over all samples."""

    dense: int = 0
    macs: int = 0
    acs: int = 0
    sops: float = 0.0
    values: int = 0  # numbers counted: input values of a connection, neuron-steps of a neuron
    nonzero: int = 0
    weights: int = 0  # the same of the second factor of a product of activations
    nonzero_weights: int = 0
    before_spikes: bool = False
    dense_of: dict[torch.Size, int] = field(default_factory=dict)  # of one sample, by shape: it never changes

    def add(self, dense: int, effective: int, sops: float, accumulates: bool) -> None:
        self.dense += dense
        self.macs += 0 if accumulates else effective
        self.acs += effective if accumulates else 0
        self.sops += sops


class OperationCounter:
    """Counts what a model does inside a `with` block, through hooks that are gone after it.

        with OperationCounter(model) as counter:
            for x, _ in loader:
                num_samples += len(model(x))
        cost = counter.measurement(num_samples)

    The caller counts the samples, so the counter works around any loop and any door of the model. Keep the model in
    eval mode; under DDP each process counts its own samples. A call costs one more pass over the layer's input and one
    convolution of a single sample.

    Args:
        model: A student or an ANN, on any device, under autocast or not.

    Raises:
        ValueError: If the model has no Conv1d, Conv2d, Conv3d, Linear or DelayedLinear layer.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        modules = dict(model.named_modules())
        self._connections = {name: module for name, module in modules.items() if isinstance(module, Connection)}
        self._neurons = {name: module for name, module in modules.items() if isinstance(module, Neuron)}
        if not self._connections:
            raise ValueError(
                f"{type(model).__name__}: expected a Conv1d, Conv2d, Conv3d, Linear or DelayedLinear layer, found none."
            )
        self._matmuls = {name: module for name, module in modules.items() if isinstance(module, MatMul)}
        self._tallies = {name: _Tally() for name in self._connections | self._matmuls | self._neurons}
        self._stack = ExitStack()
        self._fired = False

    def __enter__(self) -> "OperationCounter":
        self._stack.enter_context(watching(self._connections, before=self._count_products))
        self._stack.enter_context(watching(self._matmuls, before=self._count_matmul))
        self._stack.enter_context(watching(self._neurons, self._count_spikes))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @torch.no_grad()
    def _count_products(self, name: str, layer: Connection, args: tuple[Tensor, ...]) -> None:
        tally = self._tallies[name]
        if not tally.values:
            tally.before_spikes = not self._fired
        x = args[0].cpu() if args[0].device.type == "mps" else args[0]  # MPS has no float64
        samples = x.reshape(-1, *x.shape[1 - layer.weight.ndim :])  # [T*N, C, H, W] or [T*N, F]; [T, N, F] with delays
        over = 1 if isinstance(layer, DelayedLinear) else 0
        # A product count is linear in the mask of the input, so the samples are summed first and cost as much as one.
        # float64 is exact here, and neither autocast nor TF32 touches it.
        mask = (samples != 0).sum(over, keepdim=True, dtype=torch.float64)  # [1, C, H, W] or [1, F]; [T, 1, F]
        if mask.shape not in tally.dense_of:
            tally.dense_of[mask.shape] = _products(layer, torch.ones_like(mask), dense=True)
        dense, effective = samples.shape[over] * tally.dense_of[mask.shape], _products(layer, mask, dense=False)
        sops = dense * x.abs().sum(dtype=torch.float64).item() / max(x.numel(), 1)
        tally.add(dense, effective, sops, torch.equal(x, x.sign()))
        tally.values += x.numel()
        tally.nonzero += round(mask.sum().item())

    @torch.no_grad()
    def _count_matmul(self, name: str, layer: MatMul, args: tuple[Tensor, Tensor]) -> None:
        tally = self._tallies[name]
        a, b = (x.cpu() if x.device.type == "mps" else x for x in args)  # [..., n, k] and [..., k, m]
        first, second = (torch.equal(x, x.sign()) for x in (a, b))
        ones_a, ones_b = (a != 0).sum(-2).double(), (b != 0).sum(-1).double()  # [..., k]
        dense, effective = a.numel() * b.shape[-1], round((ones_a * ones_b).sum().item())
        sops = dense * (b if second and not first else a).abs().mean(dtype=torch.float64).item()
        tally.add(dense, effective, sops, first or second)
        tally.values, tally.nonzero = tally.values + a.numel(), tally.nonzero + int(ones_a.sum())
        tally.weights, tally.nonzero_weights = tally.weights + b.numel(), tally.nonzero_weights + int(ones_b.sum())

    @torch.no_grad()
    def _count_spikes(self, name: str, neuron: nn.Module, args: tuple[Any, ...], spikes: Tensor) -> None:
        tally, self._fired = self._tallies[name], True
        tally.values += spikes.numel()
        tally.nonzero += int(spikes.count_nonzero())

    def measurement(self, num_samples: int) -> Measurement:
        """The cost per sample of what ran so far; num_samples is N summed over the batches, not T * N.

        Raises:
            ValueError: If no sample or no layer ran.
        """
        ran = sum(self._tallies[name].values > 0 for name in self._connections)
        if num_samples < 1 or not ran:
            raise ValueError(
                f"measurement: expected samples and layers that ran, found {num_samples} samples and {ran} of "
                f"{len(self._connections)} layers. Run at least one batch through the model."
            )
        neurons = {name: self._tallies[name] for name in self._neurons}
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return Measurement(
            num_samples=num_samples,
            layers=tuple(self._layer_cost(name, num_samples) for name in self._connections | self._matmuls),
            firing_rates={name: tally.nonzero / max(tally.values, 1) for name, tally in neurons.items()},
            spikes=sum(tally.nonzero for tally in neurons.values()) / num_samples,
            neuron_steps=sum(tally.values for tally in neurons.values()) / num_samples,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            footprint_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
            connection_sparsity=connection_sparsity(self.model),
            parameter_sparsity=parameter_sparsity(self.model),
        )

    def _layer_cost(self, name: str, num_samples: int) -> LayerCost:
        layer, tally = (self._connections | self._matmuls)[name], self._tallies[name]
        encoder = tally.before_spikes and (tally.macs > 0 or not self._neurons)
        return LayerCost(
            name=name,
            kind=type(layer).__name__,
            dense=tally.dense / num_samples,
            macs=tally.macs / num_samples,
            acs=tally.acs / num_samples,
            sops=0.0 if encoder else tally.sops / num_samples,
            input_density=tally.nonzero / max(tally.values, 1),
            weight_density=tally.nonzero_weights / max(tally.weights, 1)
            if isinstance(layer, MatMul)
            else _density([layer.weight]),
            encoder=encoder,
        )


def measure(model: nn.Module, batches: Iterable[Tensor]) -> Measurement:
    """Run a model on batches, in eval mode and without gradients, and measure what one inference costs.

    Args:
        model: A student or an ANN that maps a batch to logits [N, K]. Its training flags are restored.
        batches: Inputs that `model.forward` takes, on the model's device: `(x for x, _ in loader)`, or `[x]`.

    Raises:
        TypeError: If `batches` is one tensor, which would run sample by sample.
        ValueError: If there is no batch, or the model has no layer to count.
    """
    if isinstance(batches, Tensor):
        raise TypeError(f"batches must be an iterable of tensors, found one of shape {list(batches.shape)}: pass [x].")
    num_samples = 0
    with torch.no_grad(), evaluating(model), OperationCounter(model) as counter:
        for x in batches:
            num_samples += model(x).shape[0]
    return counter.measurement(num_samples)


def connection_sparsity(model: nn.Module) -> float:
    """Share of zeros among the weights of the connection layers, biases excluded (NeuroBench)."""
    return 1.0 - _density(layer.weight for layer in model.modules() if isinstance(layer, Connection))


def parameter_sparsity(model: nn.Module) -> float:
    """Share of zeros among all parameters, normalisation and biases included."""
    return 1.0 - _density(model.parameters())


class _Products(TorchFunctionMode):
    """Turns the forward of a layer into a count of its multiplications.

    Where the layer reaches its convolution or linear map, the weight becomes its mask and the bias goes. All that comes
    before stays the layer's own: padding modes, timm's "same" padding, weight standardisation, parametrisations.
    """

    functions = frozenset({F.linear, F.conv1d, F.conv2d, F.conv3d})

    def __init__(self, dense: bool) -> None:
        super().__init__()
        self.dense = dense
        self.count = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in self.functions:
            return func(*args, **kwargs)
        x, weight, *rest = args
        mask = torch.ones_like(weight) if self.dense else weight != 0
        products = func(x, mask.to(x), None, *rest[1:], **{key: kwargs[key] for key in kwargs.keys() - {"bias"}})
        self.count += round(products.sum().item())
        return products


def _products(layer: Connection, x: Tensor, dense: bool) -> int:
    """Multiplications of `layer` on the mask x; `forward` is called directly, so that no hook runs."""
    if dense and isinstance(layer, DelayedLinear):  # computed as a convolution over all lags; a synapse has one
        return layer.dense_products(len(x))
    with _Products(dense) as products:
        layer.forward(x)
    return products.count


def _density(tensors: Iterable[Tensor]) -> float:
    """Share of nonzero values; 1 if there are none."""
    sizes = [(int(tensor.count_nonzero()), tensor.numel()) for tensor in tensors]
    total = sum(numel for _, numel in sizes)
    return sum(nonzero for nonzero, _ in sizes) / total if total else 1.0
