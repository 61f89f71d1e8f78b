"""Checkpoints: published to a registry, pulled back, verified.

A published checkpoint is a directory or a Hub repository of exactly these files:

    config.json           architecture, model_args, pretrained_cfg: timm's format, so timm can load it by itself
    model.safetensors     the weights; nothing pickled is ever read from a registry
    golden.safetensors    "input" [N, C, H, W] or [T, N, C, H, W] and the "logits" [N, K] it gives
    manifest.json         size and sha256 of every other file
    README.md             the card, written from measurements
    recipe.yaml           the recipe of the run (if it came from one); of a converted student, the recipe of its twin
    results.json          the measured numbers (if the run was tested); of a converted student, also its conversion

A registry is a directory of such directories, named `architecture.tag`, or the Hub. `zoo/pretrained/` is the registry
shipped with the code. The manifest lies beside the files, so it shows damage, not a dishonest publisher: pin a Hub
repository by its commit (`hf-hub:org/name@sha`) if that matters.

`sources.locate` turns a name into what it stands for; every command begins there.
"""
