"""The report: its numbers are those of the comparisons, and nothing in it comes from elsewhere."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from jmlip.core.errors import JmlipError
from jmlip.training import plots, report


def comparison(name="training", sizes=(3, 5, 5), energy_error=0.01, seed=0):
    rng = np.random.default_rng(seed)
    n_atoms = np.array(sizes)
    species = rng.choice([1, 8], n_atoms.sum())
    energy, forces = rng.normal(size=len(sizes)), rng.normal(size=(n_atoms.sum(), 3))
    return plots.Comparison(
        name=name,
        n_atoms=n_atoms,
        reference=np.zeros(len(sizes)),
        energy=energy,
        predicted_energy=energy + energy_error * n_atoms,
        species=species,
        forces=forces,
        predicted_forces=forces + np.where(species == 8, 0.05, 0.02)[:, None],
    )


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
    assert cells["training"][1] == cells["training"][2] == "10"
    assert cells["test"][1] == "20"


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


def test_many_sizes_are_grouped():
    data = comparison(sizes=tuple(range(2, 102)))
    (axis,) = plots.errors_by_size([data]).axes
    sizes, errors = axis.lines[0].get_data()
    assert len(sizes) == 12
    np.testing.assert_allclose(errors, 10.0, rtol=1e-6)


def test_missing_labels_are_left_out_not_counted_as_zero():
    data = comparison()
    energy = np.where(data.n_atoms == 3, np.nan, data.energy)
    data = data._replace(energy=energy, forces=np.full_like(data.forces, np.nan))
    assert plots.rms(data.energy_error) == pytest.approx(10.0)
    assert np.isnan(plots.rms(data.force_error))
    for figure in (plots.parity([data]), plots.errors_by_species([data])):
        figure.canvas.draw()


def test_unwritable_place_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(JmlipError, match="cannot write"):
        report.write_html(tmp_path / "file" / "r.html", title="", subtitle="", sections=[])
