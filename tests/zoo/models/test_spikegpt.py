import math

import pytest
import timm
import torch
import torch.nn.functional as F

import zoo
from zoo.energy import measure
from zoo.model import read, silent_layers
from zoo.neurons import carry_state, stateful_layers
from zoo.sequence import to_sequence


@pytest.fixture
def model():
    return timm.create_model("spikegpt_tiny", num_classes=50, in_chans=50).eval()


@pytest.fixture
def tokens():
    return torch.randint(50, (12, 3))


@pytest.mark.parametrize(
    ("name", "depth", "dim", "vocabulary", "count"),
    [
        ("spikegpt_46m", 12, 512, 5458, 46_553_088),
        ("spikegpt_216m", 18, 768, 50277, 215_399_424),
        ("spikegpt_tiny", 2, 64, 256, 140_928),
    ],
)
def test_parameters(name, depth, dim, vocabulary, count):
    with torch.device("meta"):
        model, other = timm.create_model(name), timm.create_model(name, num_classes=10, in_chans=20)
    assert count == 2 * vocabulary * dim + depth * (13 * dim**2 + 11 * dim) + 4 * dim
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert sum(parameter.numel() for parameter in other.parameters()) == count - (2 * vocabulary - 30) * dim
    assert model(torch.zeros(3, 2, dtype=torch.int64, device="meta")).shape == (2, vocabulary)


def walk(weights, tokens, depth):
    """One text [T], token by token in float64, as the table says; the weights are in the original's names."""
    w = {name: value.double() for name, value in weights.items()}
    dim = w["emb.weight"].shape[1]

    def norm(name, x):
        return F.layer_norm(x, (dim,), w[f"{name}.weight"], w[f"{name}.bias"])

    def mixed(name, x, last):
        share = w[name].flatten()
        return x * share + last * (1 - share)

    def fire(v, x):
        h = v + (x - v) / 2
        spike = (h >= 1).double()
        return spike, h * (1 - spike)

    zero, logits, spikes = torch.zeros(dim, dtype=torch.float64), [], 0.0
    last = {(i, part): zero for i in range(depth) for part in ("att", "ffn")}
    potential, past = dict(last), {i: [] for i in range(depth)}
    for token in tokens.tolist():
        x = (w["emb.weight"][token] >= 0).double()
        for i in range(depth):
            name = f"blocks.{i}"
            x = norm(f"{name}.ln0", x) if i == 0 else x
            for part, ln in (("att", "ln1"), ("ffn", "ln2")):
                z, before, at = norm(f"{name}.{ln}", x), last[i, part], f"{name}.{part}"
                last[i, part] = z
                r = torch.sigmoid(w[f"{at}.receptance.weight"] @ mixed(f"{at}.time_mix_r", z, before))
                k = w[f"{at}.key.weight"] @ mixed(f"{at}.time_mix_k", z, before)
                if part == "att":
                    v = w[f"{at}.value.weight"] @ mixed(f"{at}.time_mix_v", z, before)
                    decay = -torch.exp(w[f"{at}.time_decay"])
                    terms = [
                        (math.e ** (key + age * decay), value) for age, (key, value) in enumerate(reversed(past[i]))
                    ]
                    terms.append((torch.exp(w[f"{at}.time_first"] + k), v))
                    past[i].append((k, v))
                    mean = sum(share * value for share, value in terms) / sum(share for share, _ in terms)
                    current = w[f"{at}.output.weight"] @ (r * mean)
                else:
                    current = r * (w[f"{at}.value.weight"] @ torch.clamp(k, min=0) ** 2)
                spike, potential[i, part] = fire(potential[i, part], current)
                spikes += spike.mean().item() / (2 * depth * len(tokens))
                x = x + spike
        logits.append(w["head.weight"] @ norm("ln_out", x))
    return torch.stack(logits), spikes


def original(weights):
    """Our weights under the names and shapes of the released code."""
    named = {name.replace("fc.", "head.") if name.startswith("fc.") else name: w for name, w in weights.items()}
    return {name: w[None, None] if "time_mix" in name else w for name, w in named.items()}


def test_equals_the_table_token_by_token(model, tokens):
    weights = original(model.state_dict())
    with torch.no_grad():
        logits = model.double().forward_sequence(tokens)
    for n in range(3):
        expected, rate = walk(weights, tokens[:, n], 2)
        torch.testing.assert_close(logits[:, n], expected, atol=1e-9, rtol=1e-9)
        assert rate > 0.02, "the test would see nothing"


def test_loads_the_original(model, tokens, tmp_path):
    """A checkpoint of the released code: its names, its shapes, a pickled state dict of tensors."""
    weights = original(model.state_dict())
    assert {"emb.weight", "head.weight", "ln_out.bias", "blocks.0.ln0.weight", "blocks.1.ffn.time_mix_r"} <= set(
        weights
    )
    assert weights["blocks.0.att.time_mix_k"].shape == (1, 1, 64)
    torch.save(weights, tmp_path / "original.pth")
    source = {"pretrained_cfg_overlay": {"file": str(tmp_path / "original.pth"), "num_classes": 50}}
    again = timm.create_model("spikegpt_tiny", pretrained=True, num_classes=50, in_chans=50, **source).eval()
    assert torch.equal(again(tokens), model(tokens))
    other = timm.create_model("spikegpt_tiny", pretrained=True, num_classes=7, in_chans=50, **source).eval()
    assert other(tokens).shape == (3, 7)
    assert torch.equal(other.forward_features(tokens), model.forward_features(tokens))


def test_no_token_sees_a_later_one(model, tokens):
    changed = torch.cat([tokens[:8], (tokens[8:] + 1) % 50])
    before, after = model.forward_sequence(tokens), model.forward_sequence(changed)
    torch.testing.assert_close(before[:8], after[:8])
    assert not torch.allclose(before[8], after[8])


@pytest.mark.parametrize("cuts", [list(range(1, 12)), [5, 6]])
def test_piece_by_piece_is_the_whole(model, tokens, cuts):
    model.double()  # no rounding decides about a spike
    whole = model.forward_sequence(tokens)
    with torch.no_grad(), carry_state(model):
        parts = [model.forward_sequence(piece) for piece in tokens.tensor_split(cuts)]
        sizes = {part.numel() for layer in stateful_layers(model) for part in layer.state}
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-10, rtol=1e-10)
    assert sizes == {3 * 64}, "what is remembered must not grow with the text"


def test_shapes_and_contract(model, tokens):
    outputs = read(model, tokens)
    assert outputs.logits.shape == (12, 3, 50)
    assert [tuple(feature.shape) for feature in outputs.features] == [(12, 3, 64)] * 2
    torch.testing.assert_close(model(tokens), outputs.logits[-1])
    torch.testing.assert_close(model(tokens[:, 1:2]), outputs.logits[-1, 1:2], atol=1e-4, rtol=1e-4)
    assert torch.equal(model(tokens), model(tokens))
    assert silent_layers(model, tokens) == []
    assert not any("lif" in name for name in model.state_dict())
    with pytest.raises(ValueError, match=r"input: expected tokens \[T, N\], T >= 1, found shape"):
        to_sequence(torch.zeros(4, 1, 8), model.kind)
    maps = timm.create_model("spikegpt_tiny", features_only=True, out_indices=(0,))(tokens)
    assert [tuple(feature.shape) for feature in maps] == [(3, 64)]


def test_every_layer_fires_at_the_beginning():
    model = timm.create_model("spikegpt_tiny", depth=4, dim=128)
    rates = {}
    for name, neuron in zoo.spiking_neurons(model).items():
        neuron.register_forward_hook(lambda _, __, out, name=name: rates.update({name: out.mean().item()}))
    model(torch.randint(256, (64, 4)))
    assert len(rates) == 8
    assert all(0.02 < rate < 0.3 for rate in rates.values())


def test_classifier(model, tokens):
    assert model.get_classifier() is model.fc
    model.reset_classifier(0)
    assert model(tokens).shape == (3, 64)
    with pytest.raises(ValueError, match="without a head"):
        model.generate(tokens, 1)
    model.double().reset_classifier(7)
    assert model(tokens).shape == (3, 7)
    assert model.fc.bias is None
    with pytest.raises(ValueError, match="nothing to pool, found global_pool='avg'"):
        model.reset_classifier(3, "avg")


def test_gradient_reaches_every_parameter(model, tokens):
    logits = model.train().forward_sequence(tokens)
    F.cross_entropy(logits[:-1].flatten(0, 1), tokens[1:].flatten()).backward()
    assert all(parameter.grad.any() for parameter in model.parameters())


def test_checkpointed_gradients_are_equal(model, tokens):
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        torch.manual_seed(0)  # of the dropout
        model.train().forward_sequence(tokens).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_weight_decay_spares_what_is_no_weight(model):
    spared = model.no_weight_decay()
    assert {f"blocks.1.att.time_{name}" for name in ("decay", "first", "mix_k", "mix_v", "mix_r")} <= spared
    assert not any(name.endswith(".weight") for name in spared)


def test_no_layer_accumulates(model, tokens):
    """Spikes never meet a weight: LayerNorms stand between. What the paper counts as accumulates multiplies."""
    cost = measure(model, [tokens])
    assert cost.acs == 0
    assert cost.macs > 0
    weights = sum(layer.weight.numel() for layer in model.blocks.modules() if isinstance(layer, torch.nn.Linear))
    assert cost.dense == 12 * weights + model.fc.weight.numel()  # of logits, only the last


# Generation ----------------------------------------------------------------------------------------------------------


def test_greedy_generation_is_the_likeliest_next_token_every_time(model, tokens):
    text = tokens
    for _ in range(5):
        text = torch.cat([text, model(text).argmax(-1)[None]])
    assert torch.equal(model.generate(tokens, 5, temperature=0), text[12:])


def test_the_seed_decides(model, tokens):
    first = model.generate(tokens, 20, seed=3)
    assert first.shape == (20, 3)
    assert first.dtype == torch.int64
    assert torch.equal(model.generate(tokens, 20, seed=3), first)
    assert not torch.equal(model.generate(tokens, 20, seed=4), first)
    assert not any(layer.carries for layer in stateful_layers(model))


def test_draws_follow_the_temperature(model):
    """Shares of the first token among 4,000 equal prompts, against softmax(z / temperature)."""
    prompt = torch.tensor([[7], [1]])
    logits = model(prompt).detach().double()[0]
    for temperature in (0.5, 2.0):
        drawn = model.generate(prompt.expand(2, 4000), 1, temperature=temperature)[0]
        shares = drawn.bincount(minlength=50) / 4000
        expected = (logits / temperature).exp() / (logits / temperature).exp().sum()
        assert (shares - expected).abs().max() < 5 * math.sqrt(0.25 / 4000)


def test_top_k(model, tokens):
    best = model(tokens).topk(3).indices
    drawn = torch.cat([model.generate(tokens, 1, temperature=5.0, top_k=3, seed=seed) for seed in range(40)])
    for n in range(3):
        assert set(drawn[:, n].tolist()) == set(best[n].tolist())
    assert torch.equal(model.generate(tokens, 4, top_k=1), model.generate(tokens, 4, temperature=0))


def test_generation_leaves_the_mode_and_is_without_dropout(model, tokens):
    expected = model.generate(tokens, 5)
    assert torch.equal(model.train().generate(tokens, 5), expected)
    assert model.training


def test_publish_and_verify(tmp_path):
    model = zoo.create_model("spikegpt_tiny", in_chans=50, num_classes=50).eval()
    results = {"split": "test", "metrics": {"bits": 2.5}}
    zoo.publish(model, tmp_path / "spikegpt_tiny.noise", license="mit", results=results)
    zoo.verify("spikegpt_tiny.noise", registry=tmp_path)  # raises if the logits differ
    again = zoo.create_model("spikegpt_tiny.noise", pretrained=True, registry=tmp_path).eval()
    tokens = torch.randint(50, (9, 2))
    assert torch.equal(again(tokens), model(tokens))
    card = (tmp_path / "spikegpt_tiny.noise/README.md").read_text()
    assert "tokens [T, N]" in card
    assert "| bits per token | 2.5000 |" in card
    code = (
        card.split("```python")[1]
        .split("```")[0]
        .replace(", pretrained=True", f', pretrained=True, registry="{tmp_path}"')
    )
    exec(code, {})  # what the card says works


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: timm.create_model("spikegpt_tiny", depth=0), "depth must be >= 1, found 0"),
        (lambda model: timm.create_model("spikegpt_tiny", dim=1), "dim must be >= 2, found 1"),
        (lambda model: timm.create_model("spikegpt_tiny", neuron="lfi"), "Unknown neuron 'lfi'. Did you mean 'lif'"),
        (lambda model: model(torch.zeros(3, 2)), "input: expected integers, found torch.float32"),
        (lambda model: model(torch.zeros(0, 2, dtype=torch.int64)), r"T >= 1, found shape \(0, 2\)"),
        (lambda model: model(torch.tensor([[50]])), r"Tokens must lie in 0\.\.49, found 50\.\.50"),
        (lambda model: model(torch.tensor([[-1]])), r"found -1\.\.-1"),
        (lambda model: model.generate(torch.tensor([[1]]), 0), "num_tokens must be >= 1, found 0"),
        (lambda model: model.generate(torch.tensor([[1]]), 1, temperature=-1.0), "temperature must be >= 0"),
        (lambda model: model.generate(torch.tensor([[1]]), 1, top_k=0), "top_k must be >= 1"),
    ],
)
def test_what_it_refuses(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)
