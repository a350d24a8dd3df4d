"""The report: its numbers are those of the comparisons, and nothing in it comes from elsewhere."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from jmlip.core.errors import JmlipError
from jmlip.training import plots, report
from jmlip.training.evaluation import EvaluationResult


def comparison(name="training", sizes=(3, 5, 5), energy_error=0.01, seed=0):
    rng = np.random.default_rng(seed)
    n_atoms = np.array(sizes)
    species = rng.choice([1, 8], n_atoms.sum())
    energy, forces = rng.normal(size=len(sizes)), rng.normal(size=(n_atoms.sum(), 3))
    result = EvaluationResult(
        n_structures=len(sizes),
        energy_per_atom_rmse_meV=1e3 * energy_error,
        forces_rmse_by_element={"H": 20.0, "O": 50.0},
        energy_per_atom_rmse_by_size=dict.fromkeys(sizes, 1e3 * energy_error),
        n_atoms=n_atoms,
        energy=energy + energy_error * n_atoms,
        energy_label=energy,
        species=species,
        forces=forces + np.where(species == 8, 0.05, 0.02)[:, None],
        forces_label=forces,
        stress=np.zeros((0, 3, 3)),
        stress_label=np.zeros((0, 3, 3)),
    )
    return plots.Comparison(name, result, np.zeros(len(sizes)))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    curves = {"training": ([1, 2, 3], [1.0, 0.1, 0.01])}
    sections = report.training_sections(
        summary={"data": "3 structures <H2O & friends>"},
        panels=[plots.Panel("Loss", "loss", curves), plots.Panel("Nothing", "eV", {})],
        best_epoch=3,
        comparisons=[comparison(), comparison("test", energy_error=0.02)],
        environment={"jax": "0.0"},
    )
    report.write_html(path, title="A & B", subtitle="<none>", sections=sections)
    return path.read_text(encoding="utf-8")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_well_formed_and_self_contained(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    names = {tag for tag, _ in tags.seen}
    assert not names & {"script", "link", "iframe", "object"}
    sources = [a["src"] for tag, a in tags.seen if tag == "img"]
    assert len(sources) == 4
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert not re.findall(r"(?:href|url\()\s*[\"']?http", page)


def test_text_from_outside_is_escaped(page):
    assert "A &amp; B" in page
    assert "<H2O" not in page
    assert "&lt;H2O &amp; friends&gt;" in page


def test_error_table_has_the_errors(page):
    # 10 and 20 meV/atom by construction
    rows = re.findall(r"<tr><td>(training|test)</td>(.*?)</tr>", page)
    cells = {name: re.findall(r"<td>(.*?)</td>", row) for name, row in rows}
    assert cells["training"] == ["3", "10"]
    assert cells["test"] == ["3", "20"]


def test_report_is_the_same_each_time(tmp_path):
    for name in ("a", "b"):
        section = report.Section("Parity", pictures=[(plots.parity([comparison()]), "caption")])
        report.write_html(tmp_path / name, title="t", subtitle="s", sections=[section])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_bars_by_species_have_the_height_of_the_errors():
    data = comparison()
    (axis,) = plots.errors_by_species([data]).axes
    heights = [bar.get_height() for bar in axis.patches]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["H", "O"]
    np.testing.assert_allclose(heights, [20.0, 50.0], rtol=1e-9)


def test_many_sizes_are_grouped_and_few_are_not():
    (axis,) = plots.errors_by_size([comparison(sizes=tuple(range(2, 102)))]).axes
    assert len(axis.patches) == 10
    np.testing.assert_allclose([bar.get_height() for bar in axis.patches], 10.0, rtol=1e-6)
    assert axis.get_xticklabels()[0].get_text() == "2-11"
    (axis,) = plots.errors_by_size([comparison()]).axes
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["3", "5"]


def test_sets_without_forces_are_drawn():
    data = comparison()
    nothing = {
        "species": np.zeros(0, int),
        "forces": np.zeros((0, 3)),
        "forces_rmse_by_element": {},
    }
    result = dataclasses.replace(data.result, forces_label=np.zeros((0, 3)), **nothing)
    data = data._replace(result=result)
    for draw in (plots.parity, plots.errors_by_size):
        draw([data]).canvas.draw()
    assert len(plots.parity([data]).axes[0].collections) == 1
    assert len(plots.parity([data]).axes[1].collections) == 0


def test_parity_shows_energies_less_the_references():
    data = comparison()._replace(reference=np.array([1.0, 2.0, 3.0]))
    points = plots.parity([data]).axes[0].collections[0].get_offsets()
    expected = (data.result.energy_label - [1.0, 2.0, 3.0]) / [3, 5, 5]
    np.testing.assert_allclose(points[:, 0], expected)
    np.testing.assert_allclose(points[:, 1], expected + 0.01)


def test_unwritable_place_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(JmlipError, match="cannot write"):
        report.write_html(tmp_path / "file" / "r.html", title="", subtitle="", sections=[])
