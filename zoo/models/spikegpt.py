"""SpikeGPT: a language model of RWKV-4 blocks whose branches end in spikes; the tokens of a text are the time steps.

Zhu, Zhao, Li and Eshraghian, TMLR 2024, arXiv:2302.13939: `spikegpt_46m` for enwik8, `spikegpt_216m` for OpenWebText2.
Written from the paper's equations and the layer table of the released code (BSD-2).

Not "spikes only": spikes are added to a residual of real numbers, and a LayerNorm stands before every linear layer. All
of them read real numbers and multiply; `zoo.energy` counts MACs, not the accumulates of the paper's operation counts.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import torch
from timm.models import register_model
from torch import Tensor, nn

from ..layers.wkv import wkv
from ..model import SpikingModel, evaluating
from ..neurons import NeuronSpec, Stateful, carry_state, make_neuron, make_surrogate
from ..neurons.base import State
from ..sequence import SequenceKind
from ._builder import Origin, Row, create, make_default_cfgs

__all__ = ["SpikeGPT"]

NEURON = {"name": "lif", "tau": 2.0, "detach_reset": False, "surrogate": {"name": "atan", "alpha": 2.0}}


class TokenMix(Stateful):
    """What the two branches share: every channel looks at a mixture of this token and the last.

    mixed_t = mix x_t + (1 - mix) x_{t-1},    x_0 = 0
    """

    def shift(self, x: Tensor, last: Tensor | None) -> Tensor:
        """x_{t-1} [T, N, d] of x [T, N, d]; `last` [N, d] came before it."""
        return torch.cat([torch.zeros_like(x[:1]) if last is None else last[None].to(x.dtype), x[:-1]])

    @staticmethod
    def mix(x: Tensor, before: Tensor, share: Tensor) -> Tensor:
        """The mixture; share [d] is that of the present."""
        return before + share * (x - before)


class TimeMix(TokenMix):
    """RWKV's attention: currents W_o(sigmoid(r_t) wkv(k, v)_t) [T, N, d] of x [T, N, d]; see `wkv`.

    It remembers the last token and the sums of `wkv`. `depth` is the block's place, 0 for the first and 1 for the last:
    deeper blocks look farther back.
    """

    def __init__(self, dim: int, depth: float, share: float) -> None:
        super().__init__()
        place = torch.arange(dim) / dim
        self.time_decay = nn.Parameter(-5 + 8 * (torch.arange(dim) / (dim - 1)) ** (0.7 + 1.3 * depth))
        self.time_first = nn.Parameter(math.log(0.3) + 0.5 * ((torch.arange(dim) + 1) % 3 - 1))
        self.time_mix_k = nn.Parameter(place**share)
        self.time_mix_v = nn.Parameter(place**share + 0.3 * depth)
        self.time_mix_r = nn.Parameter(place ** (0.5 * share))
        self.key, self.value, self.receptance, self.output = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """See `Stateful`."""
        before = self.shift(x, state[0] if state else None)
        k = self.key(self.mix(x, before, self.time_mix_k))
        v = self.value(self.mix(x, before, self.time_mix_v))
        r = self.receptance(self.mix(x, before, self.time_mix_r))
        mean, sums = wkv(k, v, -self.time_decay.exp(), self.time_first, state[1:] if state else None)
        return self.output(r.sigmoid() * mean), (x[-1], *sums)


class ChannelMix(TokenMix):
    """RWKV's feed-forward part: currents sigmoid(r_t) W_v relu(k_t)^2, with k four times as wide as x [T, N, d]."""

    def __init__(self, dim: int, share: float) -> None:
        super().__init__()
        self.time_mix_k = nn.Parameter((torch.arange(dim) / dim) ** share)
        self.time_mix_r = nn.Parameter((torch.arange(dim) / dim) ** share)
        self.key = nn.Linear(dim, 4 * dim, bias=False)
        self.receptance = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(4 * dim, dim, bias=False)

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """See `Stateful`; it remembers the last token."""
        before = self.shift(x, state[0] if state else None)
        k = self.key(self.mix(x, before, self.time_mix_k)).relu().square()
        r = self.receptance(self.mix(x, before, self.time_mix_r))
        return r.sigmoid() * self.value(k), (x[-1],)


class Block(nn.Module):
    """x + LIF(TimeMix(LN x)), then x + LIF(ChannelMix(LN x)), then dropout of the sum; [T, N, d] throughout."""

    def __init__(self, dim: int, index: int, depth: int, neuron: NeuronSpec, drop_rate: float) -> None:
        super().__init__()
        share = 1 - index / depth
        self.ln0 = nn.LayerNorm(dim) if index == 0 else nn.Identity()
        self.ln1, self.ln2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.att = TimeMix(dim, index / max(depth - 1, 1), share)
        self.ffn = ChannelMix(dim, share)
        self.lif1, self.lif2 = make_neuron(neuron, dim), make_neuron(neuron, dim)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """The sum with the spikes of both branches."""
        x = self.ln0(x)
        x = x + self.lif1(self.att(self.ln1(x)))
        x = x + self.lif2(self.ffn(self.ln2(x)))
        return self.drop(x)


class SpikeGPT(SpikingModel):
    r"""A language model over tokens [T, N] (int64): logits [T, N, K] of the token that follows each. `SpikingModel`.

        s = 1[E_token >= 0],   x = LN(s),   x <- Block(x),   logits = W LN(x)

    The time axis of the neurons is that of the tokens: one token, one step, whatever `num_steps` is. A token's logits
    depend on it and those before it only, and the layers remember what they need of these, so inside `carry_state` a
    text can be read piece by piece, and a new token costs the same after ten or ten thousand others (`generate`). The
    length of a text is not bounded; the published models were trained on 1,024 tokens.

    Weights begin normal, and none of them zero, as some of RWKV's do: branches of zeros leave every neuron silent.

    Args:
        depth: Blocks L.
        dim: Width d.
        neuron: Neuron of every branch, in JSON; see `make_neuron`.
        num_steps: Length T of the texts that it is trained on, for its card; it changes nothing here.
        num_classes: Tokens V to predict; 0 for no head.
        in_chans: Tokens V that can be read; num_classes where the vocabulary is one.
        drop_rate: Dropout at the end of every block.

    Raises:
        ValueError: If an argument is out of range, or the input is no int64 tokens [T, N] below in_chans.
    """

    kind = SequenceKind.TOKENS
    real_inputs = r"^blocks\."

    def __init__(
        self,
        depth: int = 12,
        dim: int = 512,
        neuron: NeuronSpec = NEURON,  # never changed
        num_steps: int = 1024,
        num_classes: int = 256,
        in_chans: int = 256,
        drop_rate: float = 0.03,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        for name, value, lowest in (("depth", depth, 1), ("dim", dim, 2)):
            if value < lowest:
                raise ValueError(f"{name} must be >= {lowest}, found {value}.")
        self.emb = nn.Embedding(in_chans, dim)
        self.surrogate = make_surrogate("atan")
        self.blocks = nn.ModuleList(Block(dim, index, depth, neuron, drop_rate) for index in range(depth))
        self.feature_info = [{"num_chs": dim, "reduction": 1, "module": f"blocks.{index}"} for index in range(depth)]
        self.num_features = dim
        self.ln_out = nn.LayerNorm(dim)
        self.fc = self.make_head(num_classes)
        self.init_weights()

    def make_head(self, num_classes: int) -> nn.Module:
        """New, untrained logits of the next token, without bias; no layer for no classes."""
        if num_classes == 0:
            return nn.Identity()
        head = nn.Linear(self.num_features, num_classes, bias=False)
        nn.init.normal_(head.weight, std=0.5 / math.sqrt(self.num_features))
        return head

    def init_weights(self) -> None:
        """Embeddings around 0, where they binarise evenly; of the branches, currents of a size that makes LIF fire."""
        nn.init.normal_(self.emb.weight, std=0.02)
        for block in self.blocks:
            for branch, gains in ((block.att, ATT_GAINS), (block.ffn, FFN_GAINS)):
                for name, gain in gains.items():
                    weight = getattr(branch, name).weight
                    nn.init.normal_(weight, std=gain / math.sqrt(weight.shape[1]))

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the model a new, untrained head, where and in the dtype the old one was.

        Raises:
            ValueError: If global_pool, which is timm's, is not None.
        """
        if global_pool is not None:
            raise ValueError(f"{type(self).__name__} has nothing to pool, found global_pool={global_pool!r}.")
        self.num_classes = num_classes
        self.fc = self.make_head(num_classes).to(next(self.parameters()))

    @staticmethod
    def adapt_weights(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        """Weights of the released code under our names: its `head` is our `fc`, its mixes [1, 1, d] are [d]."""
        named = {re.sub(r"^head\.", "fc.", name): weight for name, weight in weights.items()}
        return {name: weight.flatten() if ".time_" in name else weight for name, weight in named.items()}

    def check_tokens(self, x: Tensor) -> None:
        """Refuse what is no text.

        Raises:
            ValueError: If x has another shape or type, or a token that the model does not know.
        """
        if x.ndim != 2 or not len(x) or x.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"Expected tokens [T, N] (int64), T >= 1, found shape {tuple(x.shape)} of {x.dtype}.")
        if not x.is_meta and x.numel() and not 0 <= int(x.min()) <= int(x.max()) < self.in_chans:
            raise ValueError(
                f"Tokens must lie in 0..{self.in_chans - 1}, found {int(x.min())}..{int(x.max())}. Make the model with "
                "in_chans = size of the vocabulary."
            )

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, K] of the token after the last of x [T, N]; not a mean over time: a text is not its mean."""
        return self.forward_head(self.forward_features(x)[-1:])[0]

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The sum [T, N, d] after every block."""
        self.check_tokens(x)
        x = self.surrogate(self.emb(x))  # spikes [T, N, d]
        for block in self.blocks:
            x = self.stage(block, x)
            yield x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits [T, N, K] of the last sum [T, N, d]; its norm if pre_logits."""
        x = self.ln_out(x)
        return x if pre_logits else self.fc(x)

    @torch.no_grad()
    def generate(
        self, prompt: Tensor, num_tokens: int, temperature: float = 1.0, top_k: int | None = None, seed: int = 0
    ) -> Tensor:
        """Go on writing: tokens [num_tokens, N] that follow a prompt [T, N], each drawn from softmax(z / temperature).

        The prompt is read at once, then one step a token. The same seed gives the same tokens.

        Args:
            prompt: At least one token, [T, N].
            num_tokens: How many, >= 1.
            temperature: Below 1 the likely become likelier; 0 always takes the likeliest.
            top_k: Draw from the k likeliest only; None for all.
            seed: Of the draws.

        Raises:
            ValueError: If an argument is out of range, or the model has no head.
        """
        check_sampling(num_tokens, temperature, top_k)
        if self.num_classes == 0:
            raise ValueError("A model without a head (num_classes = 0) cannot generate; give it one.")
        draw, written = torch.Generator().manual_seed(seed), []
        with evaluating(self), carry_state(self):
            token = prompt
            for _ in range(num_tokens):
                token = sample(self(token), temperature, top_k, draw)[None]  # [1, N]
                written.append(token)
        return torch.cat(written)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters grouped by depth."""
        return {"stem": r"^emb", "blocks": [(r"^blocks\.(\d+)", None), (r"^ln_out", (99999,))]}


def check_sampling(num_tokens: int, temperature: float, top_k: int | None) -> None:
    """Refuse arguments of `SpikeGPT.generate` out of range.

    Raises:
        ValueError: If one is.
    """
    if num_tokens < 1:
        raise ValueError(f"num_tokens must be >= 1, found {num_tokens}.")
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature must be >= 0 (0 takes the likeliest token), found {temperature}.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be >= 1, or null for all tokens, found {top_k}.")


def sample(logits: Tensor, temperature: float, top_k: int | None, draw: torch.Generator) -> Tensor:
    """Tokens [N] drawn from logits [N, K], on the CPU, so that every device draws alike."""
    if temperature == 0:
        return logits.argmax(-1)
    scores = logits.double().cpu() / temperature
    if top_k is not None and top_k < scores.shape[-1]:
        kept = scores.topk(top_k)
        scores = torch.full_like(scores, -torch.inf).scatter(-1, kept.indices, kept.values)
    return torch.multinomial(scores.softmax(-1), 1, generator=draw)[:, 0].to(logits.device)


# Standard deviation of weights times the root of the fan-in: neurons of both branches fire at 5 to 20 % on noise.
ATT_GAINS = {"key": 1.0, "value": 1.0, "receptance": 1.0, "output": 6.0}
FFN_GAINS = {"key": 1.0, "receptance": 1.0, "value": 3.0}


def tokens(vocabulary: int, **changes: Any) -> Row:
    """A row of a model of texts; tokens are not normalised."""
    size = (vocabulary, 32, 1)  # V, and the T of a short text; timm insists on three numbers
    return {"num_classes": vocabulary, "input_size": size, "mean": (0.0,), "std": (1.0,), **changes}


default_cfgs = make_default_cfgs(
    Origin("arXiv:2302.13939", kind="language model", code="BSD-2-Clause"),
    {
        "spikegpt_46m": tokens(5458, published="1.283 bits a character, enwik8"),
        "spikegpt_216m": tokens(50277, published="perplexity 39.75, WikiText-103"),
        "spikegpt_tiny": tokens(256),
    },
)


@register_model
def spikegpt_46m(pretrained: bool = False, **kwargs: Any) -> SpikeGPT:
    """12 blocks of width 512 over 5,458 characters (enwik8 in the paper): 46,553,088 parameters."""
    return create(SpikeGPT, "spikegpt_46m", pretrained, kwargs, depth=12, dim=512)


@register_model
def spikegpt_216m(pretrained: bool = False, **kwargs: Any) -> SpikeGPT:
    """18 blocks of width 768 over the 50,277 tokens of GPT-NeoX-20B (OpenWebText2): 215,399,424 parameters."""
    return create(SpikeGPT, "spikegpt_216m", pretrained, kwargs, depth=18, dim=768)


@register_model
def spikegpt_tiny(pretrained: bool = False, **kwargs: Any) -> SpikeGPT:
    """2 blocks of width 64 over 256 bytes, for tests: 140,928 parameters."""
    return create(SpikeGPT, "spikegpt_tiny", pretrained, kwargs, depth=2, dim=64)
