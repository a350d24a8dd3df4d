"""Equivariant models start with the learning rate that their weights want."""

import pytest

from jmlip.cli.config import load_config


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("", 0.005),
        ('[model]\nkind = "mace"', 0.03),
        ('[model]\nkind = "allegro"\n[optimizer]\nclip_norm = 5.0', 0.03),
        ('[model]\nkind = "mace"\n[optimizer]\nlearning_rate = 0.01', 0.01),
        ('[model]\nkind = "nequip"\n[optimizer]\nname = "amsgrad"', 0.005),
        ('[model]\nkind = "ani"', 0.005),
    ],
)
def test_learning_rate_follows_the_model(tmp_path, text, rate):
    path = tmp_path / "config.toml"
    path.write_text(f'[data]\ntrain = "set.xyz"\n{text}\n', encoding="utf-8")
    assert load_config(path).optimizer.learning_rate == rate
