"""The code blocks of the README and of every page of the documentation run, in order, page by page."""

import json
import re
from pathlib import Path

import pytest

import diffcomb
from diffcomb.solvers.limits import KernelLimits, Limits

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(page.read_text())
    namespace = {"__name__": "docs"}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)


def test_there_are_code_blocks():
    assert sum(len(BLOCK.findall(page.read_text())) for page in PAGES) >= 8


def test_solver_figures_of_readme_are_those_of_benchmark():
    """Milliseconds and objectives of the README's table are copied from benchmarks/results/peers.json."""
    measured = json.loads((ROOT / "benchmarks" / "results" / "peers.json").read_text())["rows"]
    by_solver = {(row["instance"], row["solver"].split(" (")[0]): row for row in measured}
    text = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| ([a-z_]+.*?) \| ([\d,]+) \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) >= 6
    for instance, edges, cells in rows:
        assert edges == f"{by_solver[instance, 'multilevel']['edges']:,}"
        figures = [cell.strip(" *") for cell in cells.split("|")]
        for k, solver in enumerate(("multilevel", "GAEC + KL", "SCC")):
            row = by_solver[instance, solver]
            expected = f"{1000 * row['seconds']:,.0f}", f"{row['objective']:,.2f}"
            assert tuple(figures[2 * k : 2 * k + 2]) == expected, (instance, solver)


def test_links_and_pictures_exist():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} points to {target}, which is not there"


def test_the_figures_of_the_readme_are_those_of_the_tables():
    """Rows of trained models are copied from the generated tables, to the last digit."""
    rows = re.findall(r"^\| (scenes|nuclei) (\|.*\|)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(rows) >= 8
    for data, row in rows:
        assert row in (ROOT / "docs" / "results" / data / "table1.md").read_text(), row


def test_the_release_has_one_number():
    changelog, citation = (ROOT / "CHANGELOG.md").read_text(), (ROOT / "CITATION.cff").read_text()
    latest, date = re.search(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE).groups()
    assert latest == diffcomb.__version__
    assert f"version: {latest}\ndate-released: {date}\n" in citation


def test_table_of_limits_has_every_limit(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import hooks

    rows = [row.split(" | ") for row in hooks.limits_table().splitlines()[2:]]
    names = [row[0].removeprefix("| `").removesuffix("`") for row in rows]
    assert names == [*vars(Limits()), *KernelLimits._fields]
    assert all(row[2].removesuffix(" |") for row in rows)
