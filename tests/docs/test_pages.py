"""The pages tell the truth: code runs, configurations are valid, commands parse, links lead on."""

import importlib
import importlib.util
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from jmlip.cli.config import RunConfig
from jmlip.cli.distill_config import DistillConfig
from jmlip.cli.parser import parse
from jmlip.core.config import from_dict
from jmlip.data import Units, from_atoms, write
from jmlip.factory import make_model
from jmlip.potentials.potential import initial_potential, save_potential

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
READABLE = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def with_blocks(language: str, pages=READABLE):
    pages = [page for page in pages if blocks(page, language)]
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.stem)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A folder with what the snippets open: structures, `potential`, weights of torch."""
    folder, rng = tmp_path_factory.mktemp("example"), np.random.default_rng(0)
    structures = []
    for k in range(20):
        atoms = bulk("Cu", cubic=True)[k % 2 :]  # every other one with a vacancy
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        atoms.get_stress()
        structures.append(from_atoms(atoms))
    write(folder / "set.xyz", structures)
    write(folder / "reference.xyz", [as_reference(structure) for structure in structures])
    fields = {"species": [29], "cutoff": 4.0, "r_high": 3.5, "n_features": 4, "n_interactions": 1}
    model = make_model("hipnn", fields | {"n_sensitivities": 5, "n_onsite": 1})
    potential = initial_potential("hipnn", model, key=jax.random.key(0), reference_energies=(-3.5,))
    save_potential(potential, folder / "potential")
    references = ROOT / "tests" / "models" / "references"
    for source, name in (("mace_paper", "mace"), ("nequip_natural", "nequip")):
        for ending in (".safetensors", ".json"):
            shutil.copy(references / (source + ending), folder / (name + ending))
    return folder


def as_reference(structure):
    """In hartree and bohr, under other names."""
    info = {"dft_energy": structure.energy / Units(energy="hartree").energy_factor}
    forces = structure.forces / Units(forces="hartree/bohr").forces_factor
    return structure.replace(
        energy=None, forces=None, info=info | {"arrays": {"dft_forces": forces}}
    )


@with_blocks("python", PAGES)
def test_python_runs(page, example, tmp_path, monkeypatch, capsys):
    for source in example.iterdir():
        (tmp_path / source.name).symlink_to(source)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem}
    for number, code in enumerate(blocks(page, "python")):
        program = compile(code, f"{page.name}, block {number}", "exec")
        exec(program, names)


@with_blocks("toml")
def test_configurations_are_valid(page):
    for text in blocks(page, "toml"):
        values = tomllib.loads(text)
        from_dict(DistillConfig if "teacher" in values else RunConfig, values)


@with_blocks("bash")
def test_commands_parse(page):
    commands = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    for command in commands:
        words = shlex.split(command, comments=True)
        if words[:1] == ["jmlip"]:
            parse(words[1:])


@pytest.mark.parametrize("page", READABLE, ids=lambda page: page.stem)
def test_links_and_names_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]*)(#[^)]*)?\)", text)
    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {path}"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {path}{anchor}"
    for name in set(re.findall(r"`(jmlip(?:\.\w+)+)`", text)):
        assert exists(name), f"{page.name} names {name}"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def exists(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_of_options_are_those_of_the_code(page):
    tables = script("config_tables")
    text = page.read_text(encoding="utf-8")
    assert tables.render(text) == text, "run python docs/config_tables.py"


def test_the_table_of_models_is_that_of_the_results():
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    for part in (script("model_table").table(), script("model_table").sizes()):
        assert part in text, "run python docs/model_table.py"


def script(name: str):
    """A script of the folder `docs` as a module."""
    specification = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
