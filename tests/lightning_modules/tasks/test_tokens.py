import csv
import math

import pytest
import torch

import zoo
from datamodules.text.corpus import TextDataModule
from lightning_modules import ClassificationModule, DistillationModule, LanguageModule
from lightning_modules.callbacks import EnergyMonitor, Plots, PredictionWriter
from lightning_modules.objectives import LogitKD, NextToken
from lightning_modules.tasks.tokens import Tokens
from zoo.model import read

SONG = "".join(f"{n} green bottles hanging on the wall, and if one should fall, {n - 1}.\n" for n in range(30, 0, -1))


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "song.txt"
    path.write_text(SONG)
    return TextDataModule(str(path), length=32, batch_size=8, prompts=["7 green bot", "and"])


@pytest.fixture
def text_args(text):
    return {"num_classes": 256, "in_chans": 256, "input_cfg": text.input_cfg}


def make(text_args, adam, **changes):
    return LanguageModule(**{"model": "spikegpt_tiny", "optimizer": adam, **text_args, **changes})


def test_learns_tests_and_writes(text, text_args, adam, trainer, tmp_path, capsys):
    args = {"depth": 1, "dim": 48}
    module = make(
        text_args, lambda groups: torch.optim.Adam(groups, lr=1e-2), model_args=args, temperature=0.0, num_tokens=12
    )
    run = trainer(max_epochs=20, callbacks=[PredictionWriter(), EnergyMonitor(), Plots()])
    run.fit(module, text)
    results = run.test(module, text, verbose=False)[0]
    counts = torch.tensor([SONG.count(letter) for letter in set(SONG)]).double() / len(SONG)
    unigram = -(counts * counts.log2()).sum().item()
    assert results["test/bits"] < 0.6 * unigram
    assert results["test/acs"] == 0

    x, y = (torch.cat(parts, 1) for parts in zip(*text.test_dataloader(), strict=True))
    with torch.no_grad():
        logits = module.eval().model.forward_sequence(x).double()
    bits = -logits.log_softmax(-1).gather(-1, y[..., None]).mean().item() / math.log(2)
    assert results["test/bits"] == pytest.approx(bits, rel=1e-4)
    assert results["test/acc"] == pytest.approx((logits.argmax(-1) == y).float().mean().item(), abs=1e-6)

    run.predict(module, text, return_predictions=False)
    with (tmp_path / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["index"], row["prompt"]) for row in rows] == [("0", "7 green bot"), ("1", "and")]
    assert rows[0]["continuation"].startswith("tles hang")
    assert [len(row["continuation"]) for row in rows] == [12, 12]
    out = capsys.readouterr().out
    assert f"prompt: 7 green bot\ncontinuation: {rows[0]['continuation']}" in out
    assert "2 predictions" in out
    assert results["test/bits_per_byte"] == results["test/bits"]


def test_predictions_repeat_with_their_seed(text, text_args, adam, trainer, tmp_path):
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        module = make(text_args, adam, num_tokens=8, temperature=0.9, top_k=20, sampling_seed=seed)
        trainer(callbacks=[PredictionWriter()]).predict(module, text, return_predictions=False)
        found.append((tmp_path / "predictions.csv").read_text())
    assert found[0] == found[1] != found[2]


def test_byte_pairs_are_compared_per_byte(text, adam, trainer, tmp_path):
    data = TextDataModule(str(text.root), tokenizer="bpe:280", length=16, batch_size=8, prompts=["7 green bot"])
    args = {"num_classes": data.num_classes, "in_chans": data.in_chans, "input_cfg": data.input_cfg}
    module = make(args, adam, model_args={"depth": 1, "dim": 48}, num_tokens=4)
    run = trainer(max_epochs=1, callbacks=[PredictionWriter()])
    run.fit(module, data)
    results = run.test(module, data, verbose=False)[0]
    x, y = (torch.cat(parts, 1) for parts in zip(*data.test_dataloader(), strict=True))
    with torch.no_grad():
        logits = module.eval().model.forward_sequence(x).double()
    bits = -logits.log_softmax(-1).gather(-1, y[..., None]).sum().item() / math.log(2)
    size = sum(len(data.tokenizer.vocabulary[token]) for token in y.flatten().tolist())
    assert size > 1.3 * y.numel()
    assert results["test/bits"] == pytest.approx(bits / y.numel(), rel=1e-4)
    assert results["test/bits_per_byte"] == pytest.approx(bits / size, rel=1e-4)
    run.predict(module, data, return_predictions=False)
    assert "0,7 green bot," in (tmp_path / "predictions.csv").read_text()


def test_data_and_model_are_compared(text_args, data_args, adam):
    with pytest.raises(ValueError, match=r"spikegpt_tiny takes tokens \[T, N\], but the data are images"):
        make(data_args, adam)
    with pytest.raises(ValueError, match=r"delay_mlp_tiny takes spike trains .* are tokens \[T, N\]"):
        ClassificationModule(model="delay_mlp_tiny", optimizer=adam, **text_args)
    with pytest.raises(ValueError, match=r"expected a language model .* found SpikingVGG"):
        make(data_args, adam, model="spiking_vgg_tiny")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_tokens": 0}, "num_tokens must be >= 1"),
        ({"temperature": -0.5}, "temperature must be >= 0"),
        ({"top_k": 0}, "top_k must be >= 1"),
        ({"objectives": [LogitKD()]}, "LogitKD needs a teacher"),
    ],
)
def test_what_it_refuses(text_args, adam, changes, message):
    with pytest.raises(ValueError, match=message):
        make(text_args, adam, **changes)


def test_a_language_model_is_distilled(text, text_args, adam, trainer, tmp_path):
    larger = zoo.create_model("spikegpt_tiny", depth=2, dim=32)
    zoo.publish(larger, tmp_path / "spikegpt_tiny.song", golden_input=torch.randint(256, (32, 2)))
    module = DistillationModule(
        "spikegpt_tiny",
        f"local-dir:{tmp_path}/spikegpt_tiny.song",
        [NextToken(), LogitKD()],
        adam,
        student_args={"depth": 1, "dim": 16},
        task=Tokens(num_tokens=4),
        **text_args,
    )
    run = trainer(max_epochs=1)
    run.fit(module, text)
    results = run.test(module, text, verbose=False)[0]
    assert {"test/bits", "test/agreement", "test/teacher_acc", "test/LogitKD"} <= set(results)
    assert run.predict(module, text)[0].shape == (4, 1)
    x, y = next(iter(text.test_dataloader()))
    teacher = larger.eval().forward_sequence(x)
    ours = module.eval().model.forward_sequence(x)
    expected = torch.nn.functional.kl_div(
        (ours / 4).log_softmax(-1).flatten(0, 1), (teacher / 4).softmax(-1).flatten(0, 1), reduction="batchmean"
    )
    found = LogitKD()(read(module.model, x), module.read_teacher(x), y)
    torch.testing.assert_close(found, 16 * expected)
