"""The compiled kernels against the plain loops, which other tests hold against the definitions."""

from itertools import product

import pytest
import torch

from zoo.neurons import ATan, Gaussian, Rectangle, Sigmoid, Triangle, functional, fused, make_neuron
from zoo.neurons.surrogate import Surrogate

needs_kernels = pytest.mark.skipif(fused.LIBRARY.get(True) is None, reason="no C++ compiler")
SURROGATES = [ATan(), Sigmoid(), Triangle(), Rectangle(), Gaussian(), None]
TOLERANCE = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}


def both(monkeypatch, compute):
    """What the kernels and what the loops give."""
    fast = compute()
    with monkeypatch.context() as patch:
        patch.setattr(fused, "can_run", lambda *_: False)
        return fast, compute()


def check_gradients(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        error = (a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-12)
        assert error <= tolerance


@needs_kernels
@pytest.mark.parametrize("surrogate", SURROGATES, ids=str)
@pytest.mark.parametrize("v_reset", [0.0, -0.3, None])
@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_leaky_equals_the_loop(monkeypatch, surrogate, v_reset, detach_reset, dtype):
    """Spikes and states to the bit, gradients to rounding; 3000 columns are several blocks and a rest."""
    x, v = (1.5 * torch.randn(9, 3000)).to(dtype), 0.3 * torch.randn(3000)
    g, g_end = torch.randn(9, 3000).to(dtype), torch.randn(3000)

    def compute(state, learned):
        inputs = [x.clone().requires_grad_()]
        inputs += [v.clone().requires_grad_()] if state else []
        numbers = [torch.tensor(n, requires_grad=learned) for n in (0.7, 0.6, 0.05, 0.9)]
        given = numbers if learned else [n.item() for n in numbers]
        start = inputs[1] if state else None
        out, end = functional.leaky(inputs[0], start, *given, v_reset, detach_reset, surrogate)
        wanted = inputs + (numbers[: 3 if surrogate is None else 4] if learned else [])
        loss = [out, end] if state else [out]
        return out, end, torch.autograd.grad(loss, wanted, [g, g_end] if state else [g])

    for state, learned in product([False, True], repeat=2):
        fast, slow = both(monkeypatch, lambda s=state, n=learned: compute(s, n))
        assert torch.equal(fast[0], slow[0])
        assert torch.equal(fast[1], slow[1])
        count = 1 + state
        check_gradients(fast[2][:count], slow[2][:count], TOLERANCE[dtype])
        for a, b in zip(fast[2][count:], slow[2][count:], strict=True):  # sums of x.numel() terms that cancel
            assert abs(a - b) <= TOLERANCE[dtype] * (x.numel() + abs(b))


@needs_kernels
@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("learned", [True, False])
def test_a_start_equals_the_loop(monkeypatch, detach_reset, learned):
    """The first potential enters the spikes, the gradients of all steps, and that of a learned decay."""
    x, g, g_end = 0.5 * torch.randn(6, 3000), torch.randn(6, 3000), torch.randn(3000)

    def compute(v_start=0.45):
        leaf = x.clone().requires_grad_()
        numbers = [torch.tensor(n, requires_grad=learned) for n in (0.7, 0.6, 0.05, 0.9)]
        given = numbers if learned else [n.item() for n in numbers]
        out, end = functional.leaky(leaf, None, *given, None, detach_reset, ATan(), v_start=v_start)
        return out, end, torch.autograd.grad([out, end], [leaf, *numbers] if learned else [leaf], [g, g_end])

    fast, slow = both(monkeypatch, compute)
    assert torch.equal(fast[0], slow[0])
    assert torch.equal(fast[1], slow[1])
    assert not torch.equal(fast[0], compute(v_start=None)[0]), "the test would see nothing"
    check_gradients(fast[2][:1], slow[2][:1], 1e-6)
    for a, b in zip(fast[2][1:], slow[2][1:], strict=True):
        assert abs(a - b) <= 1e-6 * (x.numel() + abs(b))


@needs_kernels
@pytest.mark.parametrize("surrogate", SURROGATES[:-1], ids=str)
@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_adaptive_equals_the_loop(monkeypatch, surrogate, detach_reset, dtype):
    shape, units = (12, 30, 9), 9
    x, g = (3 * torch.randn(shape)).to(dtype), torch.randn(shape).to(dtype)
    states, g_end = torch.randn(3, *shape[1:]), torch.randn(2, *shape[1:])
    numbers = (
        0.85 + 0.1 * torch.rand(units),
        0.96 + 0.02 * torch.rand(units),
        torch.rand(units),
        2 * torch.rand(units),
    )

    def compute(carried):
        leaves = [x.clone().requires_grad_(), *(n.clone().requires_grad_() for n in numbers)]
        start = [s.clone().requires_grad_() for s in states] if carried else None
        out, end = functional.adaptive(leaves[0], start, *leaves[1:], 1.0, detach_reset, surrogate)
        loss, grads = ([out, *end[:2]], [g, *g_end]) if carried else ([out], [g])
        return out, end, torch.autograd.grad(loss, leaves + (start or []), grads)

    for carried in (False, True):
        fast, slow = both(monkeypatch, lambda c=carried: compute(c))
        assert torch.equal(fast[0], slow[0])
        assert all(torch.equal(a, b) for a, b in zip(fast[1], slow[1], strict=True))
        check_gradients(fast[2], slow[2], max(2e-6, TOLERANCE[dtype]))


@needs_kernels
@pytest.mark.parametrize("steps", [1, 16, 33, 401, 1000])
def test_any_number_of_steps(monkeypatch, steps):
    x = torch.randn(steps, 70) + 0.4

    def compute():
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(make_neuron("lif")(leaf).sum(), leaf)

    check_gradients(*both(monkeypatch, compute), 1e-6)


@needs_kernels
@pytest.mark.parametrize("steps", [1, 3, 5, 9])
def test_large_tensors_are_written_around_the_caches(monkeypatch, steps):
    """Above 32 MB; rows of an odd length begin at any address."""
    neuron, x = make_neuron("lif"), torch.randn(steps, 8_500_000 // steps + 1) + 0.5

    def compute():
        leaf = x.clone().requires_grad_()
        spikes = neuron(leaf)
        return spikes, torch.autograd.grad((spikes * x).sum(), leaf)

    fast, slow = both(monkeypatch, compute)
    assert torch.equal(fast[0], slow[0])
    check_gradients(fast[1], slow[1], 1e-6)


@needs_kernels
def test_layouts(monkeypatch):
    """Channels-last currents stay channels-last; a repeated still current, and other views, are read as they are."""
    neuron, base = make_neuron("lif"), torch.randn(4, 2, 3, 5, 6) + 0.5
    channels_last = base.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (4, 2))
    for x in (base, channels_last, base[:1].expand(4, -1, -1, -1, -1), base.transpose(1, 2), base[:, :, :2], base[::2]):
        leaf = x.detach().requires_grad_()
        weights = torch.randn(x.shape)
        fast, slow = both(
            monkeypatch, lambda f=leaf, w=weights: (neuron(f), torch.autograd.grad((neuron(f) * w).sum(), f))
        )
        assert torch.equal(fast[0], slow[0])
        check_gradients(fast[1], slow[1], 1e-6)
    assert neuron(channels_last).flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@needs_kernels
def test_the_number_of_threads_changes_nothing():
    """Nor do learned numbers, whose gradients are sums over everything."""
    x = torch.randn(5, 40_000) + 0.5
    grads = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            neuron = make_neuron("plif")
            neuron(x).sum().backward()
            grads.append(neuron.w.grad)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])


@needs_kernels
def test_nothing_but_the_input_is_saved():
    saved = []
    x = torch.randn(8, 1000, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        make_neuron("lif")(x)
    assert [t.data_ptr() for t in saved] == [x.data_ptr()]


@needs_kernels
@pytest.mark.parametrize(
    "specification", ["lif", "plif", {"name": "if", "v_reset": None, "detach_reset": False}], ids=str
)
def test_operator_contract(specification):
    """PyTorch's own checks: schema, fake tensors, autograd registration."""
    neuron = make_neuron(specification)
    x = torch.randn(3, 2, 4, requires_grad=True)
    numbers = torch.tensor([0.5, 0.5, 0.0, 1.0], requires_grad=True) if specification == "plif" else None
    constants = [] if specification == "plif" else [0.5, 0.5, 0.0, 1.0]
    reset = fused.SOFT if neuron.v_reset is None else fused.HARD
    arguments = (x, torch.rand(2, 4), numbers, constants, 0.0, 0.0, reset, neuron.detach_reset, 0, 2.0, True)
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(torch.ops.snnzoo.leaky.default, arguments, test_utils=tests)


@needs_kernels
def test_compiles_without_a_graph_break(monkeypatch):
    neuron = make_neuron("plif")
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), neuron, torch.nn.Linear(4, 4))
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x = torch.randn(3, 2, 4) * 2
    assert torch.equal(compiled(x), module(x))
    expected = torch.autograd.grad(module(x).sum(), neuron.w)
    torch.testing.assert_close(torch.autograd.grad(compiled(x).sum(), neuron.w), expected)


def test_an_exported_program_needs_no_kernels():
    x = torch.randn(3, 2, 4) * 2
    program = torch.export.export(make_neuron("lif"), (x,))
    assert "snnzoo" not in str(program.graph)
    assert torch.equal(program.module()(x), make_neuron("lif")(x))


def test_what_the_kernels_do_not_take():
    class Own(Surrogate):
        def primitive(self, x):
            return x.sigmoid()

        def derivative(self, x):
            return x.sigmoid() * (1 - x.sigmoid())

    assert not fused.can_run(torch.zeros(2, 3), Own())
    assert not fused.can_run(torch.zeros(2, 3, dtype=torch.float64), ATan())
    assert not fused.can_run(torch.zeros(2, 0), ATan())
    assert not fused.can_run(torch.zeros(2, 3, device="meta"), ATan())


@pytest.mark.parametrize("how", ["new", "off", "no compiler", "broken compiler", "no folder"])
def test_building(monkeypatch, tmp_path, caplog, capfd, how):
    """Small tensors do not compile; large ones do, once; whatever fails, the loops run and one line says so."""
    works = how == "new" and fused.LIBRARY.kernels is not None
    monkeypatch.setenv("SNNZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SNNZOO_KERNELS", "0" if how == "off" else "1")
    if how == "no compiler":
        monkeypatch.setenv("PATH", str(tmp_path))
    if how == "broken compiler":
        monkeypatch.setenv("CXX", "false")
    if how == "no folder":
        (tmp_path / "cache").write_text("a file")
    monkeypatch.setattr(fused, "LIBRARY", fused.Library())
    x, neuron = torch.full((3, fused.WORTH_COMPILING), 0.6), make_neuron("if")
    for columns, expected in ((2, False), (len(x[0]), works), (2, works)):
        assert neuron(x[:, :columns])[:, 0].tolist() == [0.0, 1.0, 0.0]
        assert (fused.LIBRARY.kernels is not None) == expected
    announced = capfd.readouterr().err.count("Compiling the neuron kernels, once per machine")
    assert announced == (how in ("new", "broken compiler")), "seconds of silence look like a hang"
    assert caplog.text.count("plain loops") == (not works and how != "off")
    assert len(list(tmp_path.glob("cache/*.so"))) == works
    if works:
        assert fused.Library().get(False) is not None, "the next process finds them"
