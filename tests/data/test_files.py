import os

import pytest

from dalle_jax.data.files import expand_braces, find_files


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("a", ["a"]),
        ("{000..002}", ["000", "001", "002"]),
        ("{8..10}", ["8", "9", "10"]),
        ("{08..10}", ["08", "09", "10"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{0..9..4}", ["0", "4", "8"]),
        ("{-1..1}", ["-1", "0", "1"]),
        ("{a,b}", ["a", "b"]),
        ("x{,.old}.tar", ["x.tar", "x.old.tar"]),
        ("{a,b}{0..1}", ["a0", "a1", "b0", "b1"]),
        ("{a{0..1},b}/c", ["a0/c", "a1/c", "b/c"]),
        ("{a,{b,c}}", ["a", "b", "c"]),
        ("{}", ["{}"]),
        ("{a}", ["{a}"]),
        ("{a{b,c}", ["{ab", "{ac"]),
        ("a}b{c", ["a}b{c"]),
        ("{0..a}", ["{0..a}"]),
        ("{5..5}", ["5"]),
    ],
)
def test_braces_stand_for_texts(text, texts):
    assert list(expand_braces(text)) == texts


@pytest.mark.parametrize(
    "text",
    [
        *("{0..1000001}", "{0..999999999999999}", "{0..9}" * 7, "{a,b}" * 50),
        *("{0..9999999999999999999}", "{a," * 900 + "}" * 900, "{" * 10_000),
    ],
)
def test_braces_for_very_many_names_are_refused_at_once(text):
    with pytest.raises(ValueError, match=r"more than (1,000,000 names|20 deep)|too many digits"):
        expand_braces(text)


NAMES = (
    "0.tar", "1.tar", "10.tar", "a/0.tar", "a/1.tar", "b/0.tar", "run[1]/0.tar", "run[1]/1.tar",
    "{a,b}/0.tar", "x::y.tar", "s*.tar", "sa.tar", "a/b/2.tar", "note.txt", ".hidden.tar",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    top = tmp_path_factory.mktemp("files")
    for name in NAMES:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(b"x")
    return top


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("0.tar", ["0.tar"]),
        ("a", ["a/0.tar", "a/1.tar"]),
        ("a/", ["a/0.tar", "a/1.tar"]),
        ("?.tar", ["0.tar", "1.tar"]),
        ("[01].tar", ["0.tar", "1.tar"]),
        ("1*.tar", ["1.tar", "10.tar"]),
        ("*/0.tar", ["a/0.tar", "b/0.tar", "run[1]/0.tar", "{a,b}/0.tar"]),
        ("a/**/*.tar", ["a/0.tar", "a/1.tar", "a/b/2.tar"]),
        ("{0..1}.tar", ["0.tar", "1.tar"]),
        ("{b,a}/*.tar", ["a/0.tar", "a/1.tar", "b/0.tar"]),
        ("[ab]/{0..0}.tar", ["a/0.tar", "b/0.tar"]),
        ("{a,b/0.tar}", ["a/0.tar", "a/1.tar", "b/0.tar"]),
        ("0.tar::b", ["0.tar", "b/0.tar"]),
        ("0.tar :: {1..1}.tar", ["0.tar", "1.tar"]),
        ("0.tar::0.tar", ["0.tar"]),
        # A name that is there is taken as it is written.
        ("run[1]/0.tar", ["run[1]/0.tar"]),
        ("run[1]", ["run[1]/0.tar", "run[1]/1.tar"]),
        ("run[1]/*.tar", ["run[1]/0.tar", "run[1]/1.tar"]),
        ("run[1]/{0..1}.tar", ["run[1]/0.tar", "run[1]/1.tar"]),
        ("x::y.tar", ["x::y.tar"]),
        ("s*.tar", ["s*.tar"]),
        ("{a,b}/0.tar", ["{a,b}/0.tar"]),
        ("a/../0.tar", ["0.tar"]),
    ],
)
def test_specs_stand_for_files(folder, spec, names, monkeypatch):
    parts = [spec] if spec == "x::y.tar" else spec.split("::")
    full = "::".join(f"{folder}/{part.strip()}" for part in parts)
    expected = sorted(str(folder / name) for name in names)
    assert [file.path for file in find_files(full, ".tar")] == expected
    monkeypatch.chdir(folder)
    assert [file.path for file in find_files(spec, ".tar")] == expected


def test_lists_paths_and_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    spec = [folder / "1.tar", "~/0.tar", f"file://{folder}/a"]
    found = find_files(spec, ".tar")
    assert [os.path.relpath(file.path, folder) for file in found] == [
        *("0.tar", "1.tar", "a/0.tar", "a/1.tar"),
    ]
    assert found[0].read(0, 9) == b"x" and found[0].size == 1 and found[0].name == "0.tar"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("2.tar", r"no \.tar file 2\.tar; .* has .* \.tar"),
        ("{0..2}.tar", r"no \.tar file 2\.tar"),
        ("nowhere/*.tar", r"no \.tar file .*nowhere/\*\.tar"),
        ("{a,c}/*.tar", r"no \.tar file .*c/\*\.tar"),
        ("*.tgz", r"has .* \.tar, .*1 \.txt"),
        ("empty", r"the folder .*empty has no \.tar file; .* has nothing"),
        ("deep", r"1 lie deeper: give .*deep/\*\*/\*\.tar"),
        ("a\0b", "no .tar file"),
        ("", r"no \.tar file is named"),
        ("::", r"no \.tar file is named"),
    ],
)
def test_what_is_not_there_is_a_sentence_that_says_what_is(folder, spec, message, monkeypatch):
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "deep" / "er").mkdir(parents=True, exist_ok=True)
    (folder / "deep" / "er" / "0.tar").write_bytes(b"")
    monkeypatch.chdir(folder)
    with pytest.raises(FileNotFoundError, match=message):
        find_files(spec, ".tar")


def test_indices_and_reports_are_no_data(tmp_path):
    for name in ("0.tar", "index-0123456789ab.npz", "data_report-0123456789ab.json"):
        (tmp_path / name).write_bytes(b"")
    assert [file.name for file in find_files(f"{tmp_path}/*", ".tar")] == ["0.tar"]
