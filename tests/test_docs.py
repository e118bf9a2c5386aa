"""The documentation keeps its word: links lead somewhere, and what it names exists."""

import ast
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from configs import base, unclip_shapes
from dalle_jax.cli.main import USAGE, VERBS

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "experiments/**/*.md", "launch/*.md")
    for page in ROOT.glob(pattern)
    if "_build" not in page.parts
)
LIST = (ROOT / "docs/log/features.md").read_text()
FEATURES = re.findall(r"`([\w/]+\.py)::(\w+)`", LIST)


def without_code(text: str) -> str:
    """Markdown without fenced blocks and inline code."""
    text = re.sub(r"^(```+).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@cache
def anchors(page: Path) -> set[str]:
    """All anchors of a page; a repeated heading gets a number."""
    text = re.sub(r"^(```+).*?^\1", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = {}
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
        name = anchor(heading)
        found[name] = found.get(name, -1) + 1
    return {
        f"{name}-{number}" if number else name
        for name, count in found.items()
        for number in range(count + 1)
    }


def broken_links(page: Path) -> list[str]:
    """Links and pictures of a page that lead to no file of the project, or to no heading."""
    text = without_code(page.read_text())
    links = re.findall(r"\]\(([^()\s]+)\)", text) + re.findall(r'(?:href|src)="([^"]+)"', text)
    broken = []
    for link in links:
        if re.match(r"\w+:", link):  # of the web, or a mail
            continue
        file, _, fragment = link.partition("#")
        target = page.parent / file if file else page
        is_missing = not target.exists() or ROOT not in [
            *target.resolve().parents,
            target.resolve(),
        ]
        if is_missing or (fragment and target.suffix == ".md" and fragment not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_a_file_and_a_heading(page):
    assert not broken_links(ROOT / page)


@pytest.mark.parametrize(
    "text, broken",
    [
        ("[a](b.md#two-words) [c](#one) ![d](e.png)", []),
        ("[a](missing.md)", ["missing.md"]),
        ("[a](b.md#missing)", ["b.md#missing"]),
        ("[a](#missing)", ["#missing"]),
        ('<img src="missing.png">', ["missing.png"]),
        ("[a](https://example.org/b) `[a](b.py)`", []),
        ("```\n[a](b.py)\n```", []),
        ("[a](../../../../../etc/passwd)", ["../../../../../etc/passwd"]),
    ],
)
def test_a_broken_link_is_found(tmp_path, monkeypatch, text, broken):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "b.md").write_text("# Two words!\n")
    (tmp_path / "e.png").touch()
    page = tmp_path / "page.md"
    page.write_text(f"# One\n{text}\n")
    assert broken_links(page) == broken


@cache
def functions(file: Path) -> set[str]:
    """Names of all functions of a file of tests, methods included."""
    nodes = ast.walk(ast.parse(file.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", sorted((ROOT / "docs/api").glob("*.md")), ids=lambda p: p.stem)
def test_the_reference_names_what_exists(page):
    directives = re.findall(
        r"^\.\. auto(\w+):: (\S+)\n(?:   :members:(.*))?", page.read_text(), flags=re.MULTILINE
    )
    for kind, name, members in directives:
        module, _, last = (name, "", "") if kind == "module" else name.rpartition(".")
        owner = import_module(module)
        listed = [last] if last else members.replace(" ", "").split(",")
        assert not [one for one in filter(None, listed) if not hasattr(owner, one)], name


def test_each_feature_names_a_test_that_exists():
    assert len(FEATURES) > 100
    lost = [
        f"{file}::{name}"
        for file, name in FEATURES
        if not (ROOT / "tests" / file).exists() or name not in functions(ROOT / "tests" / file)
    ]
    assert not lost, "a test was moved or renamed: change docs/log/features.md with it"


def test_each_option_in_the_list_of_features_exists(capsys):
    for verb in VERBS:
        file = import_module(f"dalle_jax.cli.{verb}")
        for variant in ([], ["--fake=a", "--real=b"])[: 1 + (verb == "evaluate")]:
            with pytest.raises(SystemExit):
                file.run([*variant, "--help"])
    shown = set(re.findall(r"--[\w-]+", USAGE + capsys.readouterr().out))
    listed = set(re.findall(r"--[a-z_-]+\b(?![.\w])", LIST))
    assert len(listed) > 80
    assert sorted(listed - shown) == []


def settings(section):
    """Names of all settings and sections in a section of a config."""
    for name, value in section.items():
        yield name
        if hasattr(value, "items"):
            yield from settings(value)


def test_each_setting_in_the_list_of_features_exists():
    known = {name for config in (base, unclip_shapes) for name in settings(config.get_config())}
    rows = LIST.partition("## Settings")[2].partition("\n## ")[0].splitlines()
    cells = [row.split("|")[2] for row in rows if row.startswith("|")]
    listed = set(re.findall(r"`([a-z_]+)`", " ".join(cells)))
    assert len(listed) > 50
    assert sorted(listed - known) == []


def test_the_tests_that_the_guide_of_faults_names_exist():
    """A name may be shortened: `test_it_begins_so_…`."""
    known = set().union(*map(functions, (ROOT / "tests").rglob("test_*.py")))
    named = re.findall(r"`(test_\w+)(…?)[`\[]", (ROOT / "docs/faults.md").read_text())
    begun = [name for name, shortened in named if shortened]
    assert len(named) > 50
    assert not {name for name, shortened in named if not shortened} - known
    assert not [name for name in begun if not any(one.startswith(name) for one in known)]
