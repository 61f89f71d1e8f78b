from PIL import Image

from cli import main


def test_data_shows_numbers_and_a_picture(tmp_path, capsys, fails):
    main(["data", "yin_yang", "--show", "--output", str(tmp_path / "picture.png")])
    printed = capsys.readouterr().out
    for words in ("YinYangDataModule", "[200, 5]", "5,000", "train", "val", "test", "Picture: "):
        assert words in printed
    with Image.open(tmp_path / "picture.png") as image:
        assert image.width > 500
    assert "expected a DataModule" in fails(["data", "nothing"])


def test_data_downloads_what_is_missing(tmp_path, fails, monkeypatch):
    def fetch(data):
        raise OSError("no network here")

    monkeypatch.setattr("datamodules.events.nmnist.NMNISTDataModule.fetch", fetch)
    assert "no network here" in fails(["data", "nmnist", "--root", str(tmp_path)])
