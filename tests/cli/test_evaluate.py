"""`jmlip evaluate`: its numbers against NumPy on the predictions, units, alignment."""

import json

import numpy as np
import pytest

from jmlip.data import read, write
from jmlip.factory import load_potential

KCAL = 0.04336410390059322


@pytest.fixture
def evaluate(jmlip, potential, tmp_path):
    def run(*words):
        out = tmp_path / "errors.json"
        result = jmlip("evaluate", potential, *words, "--json", out)
        assert result.code == 0, result.err
        return json.loads(out.read_text()), result.out

    return run


def test_errors_are_those_of_the_predictions(evaluate, folder, potential):
    path = str(folder / "held-out.xyz")
    errors, table = evaluate(path, "--dtype", "float64")
    structures = read(path)
    predictions = load_potential(potential).predict(structures, dtype="float64")
    pairs = list(zip(predictions, structures, strict=True))
    energy = 1e3 * np.array([p.energy - s.energy for p, s in pairs])
    forces = 1e3 * np.concatenate([p.forces - s.forces for p, s in pairs])
    expected = {
        "n_structures": 20,
        "energy_mae_meV": np.abs(energy).mean(),
        "energy_rmse_meV": np.sqrt((energy**2).mean()),
        "energy_per_atom_mae_meV": np.abs(energy).mean() / 2,
        "energy_per_atom_rmse_meV": np.sqrt((energy**2).mean()) / 2,
        "forces_mae_meV_A": np.abs(forces).mean(),
        "forces_rmse_meV_A": np.sqrt((forces**2).mean()),
    }
    assert errors == {path: pytest.approx(expected, rel=1e-9)}
    assert f"{expected['forces_rmse_meV_A']:.2f}" in table


def test_several_sets_go_by_the_names_they_were_given(evaluate, folder, monkeypatch):
    monkeypatch.chdir(folder)
    errors, _ = evaluate("./held-out.xyz", "hydrogen.xyz")
    assert list(errors) == ["./held-out.xyz", "hydrogen.xyz"]
    assert errors["hydrogen.xyz"]["n_structures"] == 50


def test_offset_counts_unless_alignment_is_asked_for(evaluate, folder, tmp_path):
    path = str(tmp_path / "shifted.xyz")
    write(path, [s.replace(energy=s.energy + 5.0) for s in read(folder / "held-out.xyz")])
    errors, _ = evaluate(path)
    assert errors[path]["energy_mae_meV"] == pytest.approx(5000.0, abs=30.0)
    for align in ("constant", "composition"):
        errors, _ = evaluate(path, "--align", align)
        assert errors[path]["energy_mae_meV"] < 30.0


def test_units_and_keys(evaluate, folder, tmp_path):
    inside, _ = evaluate(str(folder / "held-out.xyz"))
    path = tmp_path / "kcal.xyz"
    lines = []
    for s in read(folder / "held-out.xyz"):
        lines += ["2", f"Properties=species:S:1:pos:R:3:grad:R:3 U={s.energy / KCAL!r}"]
        lines += [
            f"H {' '.join(map(repr, (*p.tolist(), *f.tolist())))}"
            for p, f in zip(s.positions, s.forces / KCAL, strict=True)
        ]
    path.write_text("\n".join(lines) + "\n")
    words = ("--units", "energy=kcal/mol", "--energy-key", "U", "--forces-key", "grad")
    errors, _ = evaluate(str(path), *words)
    assert errors[str(path)] == pytest.approx(inside[str(folder / "held-out.xyz")], rel=1e-4)


def test_missing_labels_have_no_column(evaluate, folder, tmp_path):
    path = str(tmp_path / "energies.xyz")
    write(path, [s.replace(forces=None) for s in read(folder / "held-out.xyz")])
    errors, table = evaluate(path)
    assert "forces_mae_meV_A" not in errors[path]
    assert "F MAE" not in table


def test_suspicious_data_are_mentioned(jmlip, folder, potential, tmp_path):
    structures = read(folder / "held-out.xyz")
    assert "notice" not in jmlip("evaluate", potential, folder / "held-out.xyz").err
    wrong = tmp_path / "wrong.xyz"
    write(wrong, [s.replace(forces=-s.forces) for s in structures])
    assert f"the forces of {wrong} look like +dE/dR" in jmlip("evaluate", potential, wrong).err
    write(wrong, [s.replace(forces=s.forces / KCAL) for s in structures])
    assert "as if forces were in kcal/mol/angstrom" in jmlip("evaluate", potential, wrong).err


def test_structures_closer_than_in_training_are_named(jmlip, folder, potential, tmp_path):
    near = tmp_path / "near.xyz"
    structures = [
        s.replace(positions=s.positions * (0.5 if i in (2, 7) else 1.0))
        for i, s in enumerate(read(folder / "held-out.xyz"))
    ]
    write(near, structures)
    known = load_potential(potential).statistics["shortest_distance"]
    line = f"2 of 20 structures of {near} have atoms closer than any in the training data "
    assert f"{line}({known:.3f} angstrom): 2, 7.\n" in jmlip("evaluate", potential, near).err
