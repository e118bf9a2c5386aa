"""The documentation keeps its word: links lead somewhere, and what it names exists."""

import ast
import contextlib
import io
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from dalle_jax.cli.main import USAGE, VERBS
from dalle_jax.configs import base, unclip_shapes

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


GUIDES = [
    page
    for page in PAGES
    if page.parts[:2] not in (("docs", "log"), ("experiments", "results"))
    and page.name != "CHANGELOG.md"
]
CODE = (".py", ".sh", ".toml", ".sbatch", ".yaml")
FOLDERS = ("dalle_jax", "configs", "experiments", "launch", "tests", "docs")


@cache
def words_of_the_code() -> set[str]:
    """All words in the project's code, and the names of its files."""
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")]
    words = {path.name for path in files} | {path.stem for path in files}
    for path in [*(path for path in files if path.suffix in CODE), ROOT / "pyproject.toml"]:
        words |= set(re.findall(r"\w+", path.read_text()))
    return words


def code_in(page: Path) -> list[str]:
    """What a page says in code: its spans, and its commands and programs."""
    text = page.read_text()
    blocks = re.findall(r"^```(?:bash|python)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(```+).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    return [*re.findall(r"`([^`\n]+)`", text), *blocks]


@pytest.mark.parametrize("page", GUIDES, ids=str)
def test_each_name_and_file_that_a_guide_mentions_in_code_exists(page):
    """Names with an underscore, and files of the project's folders."""
    examples = {"arrays.py", "palette.py", "damaged_STEP"}
    spans = code_in(ROOT / page)
    names = {
        name for span in spans for name in re.findall(r"(?<![\w/-])[A-Za-z]\w*_\w+(?![\w…])", span)
    }
    assert sorted(names - words_of_the_code() - examples) == []
    rooms = "|".join(path.name for path in (ROOT / "dalle_jax").iterdir() if path.is_dir())
    within = rf"(?:{'|'.join(FOLDERS)})/[\w./*-]*[\w*/]|(?:{rooms})/[\w/]+\.py"
    pattern = rf"(?<![\w./-])(?:{within})(?![\w/-])"
    files = {file for span in spans for file in re.findall(pattern, span)}
    lost = [
        file
        for file in files
        if not any(list((ROOT / start).glob(file)) for start in ("", "dalle_jax", "experiments"))
        and Path(file).name not in examples
        and "NAME" not in file
    ]
    assert sorted(lost) == []


@pytest.mark.parametrize("page", GUIDES, ids=str)
def test_each_option_of_a_script_in_a_guide_exists(page):
    commands = [
        match
        for code in code_in(ROOT / page)
        for match in re.findall(r"python (\w[\w/]*\.py)([^\n|&#]*(?:\\\n[^\n|&#]*)*)", code)
    ]
    for script, arguments in commands:
        text = (ROOT / script).read_text()
        for option in re.findall(r"--(\w+)", arguments):
            assert f"--{option}" in text, f"{script} has no --{option}"


@pytest.fixture(scope="module")
def options() -> set[str]:
    """All options that the commands show in their help."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        for verb in VERBS:
            file = import_module(f"dalle_jax.cli.{verb}")
            for variant in ([], ["--fake=a", "--real=b"])[: 1 + (verb == "evaluate")]:
                with pytest.raises(SystemExit):
                    file.run([*variant, "--help"])
    return set(re.findall(r"--[\w-]+", USAGE + shown.getvalue()))


@pytest.mark.parametrize("page", GUIDES, ids=str)
def test_each_command_in_a_guide_and_its_options_exist(page, options):
    for code in code_in(ROOT / page):
        for verb, arguments in re.findall(r"dalle-jax ([a-z]+)((?:[^\n]*\\\n)*[^\n#&;]*)", code):
            assert verb in {*VERBS, "help", "completion"}, code
            listed = set(re.findall(r"--[a-z][a-z_-]*\b(?![.\w])", arguments))
            assert sorted(listed - options) == [], code


def test_each_option_in_the_list_of_features_exists(options):
    listed = set(re.findall(r"--[a-z_-]+\b(?![.\w])", LIST))
    assert len(listed) > 80
    assert sorted(listed - options) == []


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
