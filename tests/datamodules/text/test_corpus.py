from unittest.mock import Mock

import pytest
import torch
from lightning import LightningModule, Trainer

from datamodules.text.corpus import TextDataModule

TEXT = bytes(range(48, 123)) * 20  # 1,500 different-looking bytes: every place can be told from its neighbours


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT)
    return path


def make(path, **changes):
    data = TextDataModule(**{"root": str(path), "length": 20, "batch_size": 4, **changes})
    data.setup("fit")
    return data


def test_a_target_is_the_next_byte(path):
    for x, y in make(path).train_dataloader():
        assert x.shape == y.shape == (20, 4)
        assert x.dtype == y.dtype == torch.int64
        assert torch.equal(x[1:], y[:-1])
        assert all(bytes(window.tolist()) in TEXT for window in torch.cat([x, y[-1:]]).T)


def test_the_splits_are_pieces_of_the_text_in_order(path):
    data = make(path, val_fraction=0.2, test_fraction=0.1)
    for loader, first, windows in ((data.val_dataloader(), 1050, 14), (data.test_dataloader(), 1350, 7)):
        x, y = (torch.cat(parts, 1) for parts in zip(*loader, strict=True))
        assert x.shape == (20, windows)  # 300 and 150 bytes, of which the last must be a target
        assert bytes(x.T.flatten().tolist()) == TEXT[first : first + 20 * windows]
        assert bytes(y.T.flatten().tolist()) == TEXT[first + 1 : first + 20 * windows + 1]


def test_training_windows_begin_anywhere_in_the_training_split_and_nowhere_else(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(bytes(n % 128 for n in range(160)))
    data = make(path, length=10, batch_size=1)  # 128 of 160 bytes are for training
    begins, ends = set(), set()
    for epoch in range(60):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        for x, y in loader:
            begins.add(x[0, 0].item())
            ends.add(y[-1, 0].item())
    assert begins == set(range(110))  # of the pairs of windows [0, 20), [10, 30), ..., [100, 120)
    assert max(ends) == 119


def test_an_epoch_is_a_function_of_seed_and_epoch(path):
    def epoch(number, **changes):
        loader = make(path, **changes).train_dataloader()
        loader.sampler.set_epoch(number)
        return torch.cat([x for x, _ in loader], 1)

    assert torch.equal(epoch(1), epoch(1))
    assert not torch.equal(epoch(1), epoch(2))
    assert not torch.equal(epoch(1), epoch(1, seed=1))


def test_a_folder_is_its_texts_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    for name, text in (("a.md", "ä" * 100), ("b/c.txt", "c" * 300), ("z.txt", "z" * 100), ("no.py", "n" * 100)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    data = make(tmp_path)
    train, test = data.splits["train"].source.tensors[0], data.splits["test"].source.tensors[0]
    assert data.decode(train[0]) == "ä" * 20
    assert data.decode(test[-1]) == "z" * 21
    assert "n" not in data.decode(train.flatten())


def test_prompts(path):
    data = make(path, prompts=["Once", "ein Spaß"])
    found = [x for x, _ in data.predict_dataloader()]
    assert [tuple(x.shape) for x in found] == [(4, 1), (9, 1)]
    assert [data.decode(x[:, 0]) for x in found] == ["Once", "ein Spaß"]
    ((x, _),) = make(path).predict_dataloader()
    assert bytes(x[:, 0].tolist()) == TEXT[1350:1370]


def test_what_is_no_utf8_can_still_be_shown(path):
    assert make(path).decode(torch.tensor([104, 195, 105])) == "h�i"


def test_every_byte_has_a_name(path):
    data = make(path)
    assert len(set(data.label_names)) == data.num_classes == data.in_chans == 256
    assert data.label_names[65] == "A"
    assert data.input_cfg["sequence_ndim"] == 2
    assert data.input_cfg["input_size"] == (256, 20, 1)


def test_byte_pairs_see_the_training_split_alone(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("ab " * 300 + "cd " * 100)
    data = make(path, tokenizer="bpe:300", length=3, val_fraction=0.15, test_fraction=0.1)
    assert {*data.tokenizer.vocabulary[256:]} == {b"ab", b" ab"}  # and nothing of "cd"
    assert data.num_classes == data.in_chans == len(data.label_names) == 258


def test_byte_pairs_keep_the_contract(path):
    data = make(path, tokenizer="bpe:270", length=8, prompts=["ABC", "ein Spaß"])
    vocabulary = data.tokenizer.vocabulary
    assert data.input_cfg["input_size"] == (270, 8, 1)
    assert data.input_cfg["token_bytes"] == [len(token) for token in vocabulary]
    for x, y in data.train_dataloader():
        assert x.shape == y.shape == (8, 4)
        assert x.dtype == y.dtype == torch.int64
        assert torch.equal(x[1:], y[:-1])
        assert all(data.decode(window).encode() in TEXT for window in torch.cat([x, y[-1:]]).T)
    x = torch.cat([x for x, _ in data.test_dataloader()], 1)
    assert TEXT[1350:].startswith(data.decode(x.T.flatten()).encode())
    assert [data.decode(x[:, 0]) for x, _ in data.predict_dataloader()] == ["ABC", "ein Spaß"]


def test_a_fit_keeps_the_tokenizer(path, tmp_path):
    data = make(path, tokenizer="bpe:270", length=8)
    data.trainer = Mock(is_global_zero=True, default_root_dir=str(tmp_path / "run"), world_size=1)
    data.train_dataloader()
    kept = TextDataModule(root=str(path), tokenizer=str(tmp_path / "run/tokenizer.json"), length=8)
    assert kept.label_names == data.label_names
    kept.load_state_dict(data.state_dict())


class Nothing(LightningModule):
    """Learns nothing."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, _):
        return self.weight * 1.0

    def validation_step(self, batch, _):
        """Nothing."""

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters())


def test_a_checkpoint_knows_its_tokenizer(path, tmp_path):
    """The same size on another text gives other tokens: neither a test nor a resumed fit must go on with them."""
    (tmp_path / "other.txt").write_text(90 * "zwölf Boxkämpfer jagen Viktor quer ")
    kept, checkpoint = tmp_path / "tokenizer.json", str(tmp_path / "last.ckpt")

    def run(command, name="text.txt", tokenizer="bpe:270", **resume):
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
        trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, enable_model_summary=False, **quiet)
        data = TextDataModule(root=str(tmp_path / name), tokenizer=tokenizer, length=8, num_workers=0)
        getattr(trainer, command)(Nothing(), datamodule=data, **resume)
        return trainer

    run("fit").save_checkpoint(checkpoint)
    definition = kept.read_text()
    for command in ("fit", "test"):
        with pytest.raises(ValueError, match=f"another tokeniser.* Take that of the run: --data.tokenizer {kept}"):
            run(command, "other.txt", ckpt_path=checkpoint, weights_only=False)
        assert kept.read_text() == definition
        run(command, "other.txt", str(kept), ckpt_path=checkpoint, weights_only=False)


@pytest.mark.parametrize(
    "names",
    [
        ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
        ("wiki.train.raw", "wiki.valid.raw", "wiki.test.raw"),
        ("train.txt", "valid.txt", "test.txt"),
    ],
)
def test_files_that_give_the_splits(tmp_path, names):
    for name, letter in zip(names, "rvt", strict=True):
        (tmp_path / name).write_text(f" = {letter} = \n" * 30)
    (tmp_path / "zzz.txt").write_text("not read")
    data = make(tmp_path, length=8)
    for split, letter in zip(("train", "val", "test"), "rvt", strict=True):
        assert {*data.decode(data.splits[split].source.tensors[0].flatten())} == {*f" = {letter}\n"}
    (tmp_path / names[1]).unlink()
    with pytest.raises(ValueError, match=rf"has {names[0]}, {names[2]} of the files .*{names[1]}.* Add the others"):
        make(tmp_path)


@pytest.mark.parametrize("folder", [True, False])
def test_enwik8_is_cut_as_usual(tmp_path, folder):
    (tmp_path / "enwik8").write_bytes(b"r" * 900 + b"v" * 50 + b"t" * 50)
    data = make(tmp_path if folder else tmp_path / "enwik8", length=10)
    for split, letter in (("train", "r"), ("val", "v"), ("test", "t")):
        assert {*data.decode(data.splits[split].source.tensors[0].flatten())} == {letter}
    assert len(make(tmp_path, length=10, test_fraction=0.2).splits["test"]) == 19  # if asked, otherwise


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 0}, "length: expected at least 1 .* found 0"),
        ({"length": 150}, r"150 bytes for the val split, which are 150 tokens; windows of 150 tokens need 151"),
        ({"length": 700}, r"1200 bytes for the train split, .* windows of 700 tokens need 1400"),
        ({"test_fraction": 0.0}, "test_fraction: expected between 0 and 1"),
        ({"test_fraction": 0.9, "val_fraction": 0.2}, r"val_fraction \+ test_fraction: expected between"),
        ({"prompts": ["a", ""]}, "prompts: expected at least one token each, found an empty one"),
        ({"batch_size": 0}, "batch_size: expected at least 1"),
        ({"tokenizer": "bpe:12"}, "bpe:VOCAB with a size above 256"),
    ],
)
def test_what_it_refuses(path, changes, message):
    with pytest.raises(ValueError, match=message):
        make(path, **changes)


def test_files_it_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no text at .*missing.txt. Name a text file, or a folder"):
        make(tmp_path / "missing.txt")
    with pytest.raises(FileNotFoundError, match="There is no text at"):
        make(tmp_path)
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"has 0 bytes for the train split, .* Give more text, or a smaller length"):
        make(tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes("Spaß".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.txt is not a text in UTF-8"):
        make(tmp_path)
