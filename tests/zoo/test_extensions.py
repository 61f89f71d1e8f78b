import sys
from importlib.metadata import EntryPoint

import pytest
import timm

import zoo
from zoo import extensions
from zoo.models.sew_resnet import sew_resnet_tiny
from zoo.neurons import LIF, Integer, make_neuron


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that can be imported, with a neuron, and is forgotten afterwards."""
    text = "from zoo.neurons import LIF\n\nclass Cell(LIF): ...\n\nnumber = 3\n"
    (tmp_path / "own_cells.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_cells", raising=False)
    yield "own_cells"
    sys.modules.pop("own_cells", None)


@pytest.fixture
def installed(monkeypatch):
    """Entry points of the group `snnzoo`, as if packages were installed."""
    entries = []
    monkeypatch.setattr(extensions, "entry_points", lambda group: entries if group == "snnzoo" else [])
    extensions.load_installed.cache_clear()
    yield entries
    extensions.load_installed.cache_clear()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my_snn.neurons.MyNeuron", True),
        ("os.system", True),
        ("lif", False),
        ("hf-hub:org/name", False),
        ("./run.x", False),
        ("runs/best.ckpt", False),
        ("a..b", False),
        ("", False),
        (None, False),
    ],
)
def test_what_reads_like_an_import_path(name, expected):
    assert extensions.is_import_path(name) is expected


def test_a_neuron_is_found_only_when_its_module_is_loaded(module, installed):
    with pytest.raises(ValueError, match=r"Neuron own_cells\.Cell: .* found None\. Import own_cells first"):
        make_neuron("own_cells.Cell")
    assert module not in sys.modules
    extensions.import_neuron({"name": "own_cells.Cell", "tau": 3.0})
    neuron = make_neuron({"name": "own_cells.Cell", "tau": 3.0})
    assert isinstance(neuron, LIF)
    assert (type(neuron).__name__, neuron.tau) == ("Cell", 3.0)
    with pytest.raises(ValueError, match="Unknown own_cells.Cell argument 'tua'.*'tau'"):
        make_neuron({"name": "own_cells.Cell", "tua": 3.0})


@pytest.mark.parametrize("name", ["os.system", "torch.nn.Linear", "own_cells.number", "zoo.neurons.nothing"])
def test_only_a_neuron_is_a_neuron(module, installed, name):
    extensions.import_path("own_cells.number")
    with pytest.raises(ValueError, match=r"expected a subclass of zoo\.neurons\.Neuron"):
        make_neuron(name)


def test_create_model_imports_the_neuron_that_is_typed(module):
    neuron = {"name": "own_cells.Cell", "tau": 3.0}
    model = zoo.create_model("sew_resnet_tiny", num_classes=3, in_chans=1, neuron=neuron)
    assert {type(cell).__name__ for cell in zoo.spiking_neurons(model).values()} == {"Cell"}
    assert zoo.describe(model)["model_args"]["neuron"] == neuron


def test_a_published_checkpoint_imports_nothing(module, installed, tmp_path):
    model = zoo.create_model("nmnist_mlp_tiny", neuron={"name": "own_cells.Cell", "v_threshold": 0.1})
    zoo.publish(model.eval(), tmp_path / "nmnist_mlp_tiny.own")
    del sys.modules[module]
    with pytest.raises(zoo.RegistryError, match=r"Neuron own_cells\.Cell.*Import own_cells first"):
        zoo.create_model("nmnist_mlp_tiny.own", pretrained=True, registry=tmp_path)
    assert module not in sys.modules
    extensions.import_path("own_cells.Cell")
    assert zoo.create_model("nmnist_mlp_tiny.own", pretrained=True, registry=tmp_path)


def test_the_import_path_of_a_student_is_its_name(tmp_path, monkeypatch):
    path = "zoo.models.sew_resnet.sew_resnet_tiny"
    assert extensions.import_student(path) == "sew_resnet_tiny"
    assert timm.model_entrypoint("sew_resnet_tiny") is sew_resnet_tiny
    assert isinstance(zoo.create_model(path, num_classes=2), zoo.SpikingModel)
    with pytest.raises(ValueError, match="decorated with timm's register_model, found <class"):
        extensions.import_student("zoo.models.sew_resnet.SEWResNet")
    with pytest.raises(ValueError, match="No module named 'zoo.modles'.*Check its spelling"):
        extensions.import_student("zoo.modles.sew_resnet_tiny")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo.mine").mkdir()  # a directory is a run, whatever its name
    for name in ("sew_resnet_tiny.mine", "zoo.mine", "no_such_package.mine", "runs/zoo.mine", "resnet18.a1_in1k"):
        assert extensions.import_student(name) == name


def test_installed_packages_are_imported_once_and_only_when_a_name_is_unknown(module, installed):
    installed.append(EntryPoint("own", "own_cells", "snnzoo"))
    assert extensions.is_registered("sew_resnet_tiny")
    assert module not in sys.modules
    assert make_neuron("own_cells.Cell")
    del sys.modules[module]
    assert not extensions.is_registered("no_such_student")
    assert module not in sys.modules


def test_a_broken_package_is_named(installed):
    installed.append(EntryPoint("own", "no_such_module", "snnzoo"))
    with pytest.raises(ValueError, match="Entry point own = no_such_module of group snnzoo.*Mend or uninstall"):
        zoo.list_models()


def test_list_models_lists_no_model_of_timm(installed):
    names = zoo.list_models()
    assert "sew_resnet_tiny" in names
    assert "resnet18" not in names
    assert names == sorted(name for module in zoo.models.__all__ for name in timm.list_models(module=module))
    assert isinstance(make_neuron("integer"), Integer)
