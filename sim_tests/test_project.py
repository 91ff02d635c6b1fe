import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from celosia import errors

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS = {"celosia": "celosia", **SETUPTOOLS["package-dir"]}

#: What each part of the package may import of the rest. A part may always import itself.
ARROWS = {
    "celosia.errors": set(),
    "celosia.array_map": set(),
    "celosia.atomic": {"errors"},
    "celosia.flash_part": set(),
    "celosia.ddr3": {"errors"},
    "celosia.sdram_part": {"errors"},
    "celosia.config": {"errors", "flash_part", "sdram_part"},
    "celosia.isa": {"config", "errors"},
    "celosia.arguments": {"errors", "isa"},
    "celosia.tiles": {"config", "isa"},
    "celosia.golden": {"arguments", "config", "errors", "isa", "tiles"},
    "celosia.compiler": {
        *("arguments", "atomic", "config", "errors", "flash_part"),
        *("golden", "isa", "sdram_part", "tiles"),
    },
    "celosia.cores": {"config", "errors"},
    "celosia.rtl": {"config", "cores", "ddr3", "errors", "flash_part", "isa", "sdram_part"},
    "celosia.platforms": {
        *("array_map", "config", "cores", "ddr3", "errors"),
        *("flash_part", "isa", "rtl", "sdram_part"),
    },
    "celosia.runtime": {
        *("arguments", "array_map", "atomic", "compiler", "config", "cores"),
        *("ddr3", "errors", "flash_part", "golden", "isa", "rtl", "sdram_part", "tiles"),
    },
}

#: Parts that are arithmetic and text: they run where no hardware description is installed.
WITHOUT_AMARANTH = {
    "celosia.errors",
    "celosia.array_map",
    "celosia.ddr3",
    "celosia.flash_part",
    "celosia.sdram_part",
    "celosia.atomic",
    "celosia.config",
    "celosia.isa",
    "celosia.arguments",
    "celosia.tiles",
    "celosia.golden",
    "celosia.compiler",
}


def modules():
    """Yield the import name and the path of every module of the package."""
    for name, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inner = path.relative_to(ROOT / folder).with_suffix("").parts
            inner = inner[:-1] if inner[-1] == "__init__" else inner
            yield ".".join((name, *inner)), path


def imports(name: str, path: Path) -> set[str]:
    """Return the modules that `path` imports anywhere, by absolute name."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *filter(None, [base])])
            # `from celosia import golden` imports a module, `from celosia.isa import X` a name.
            found |= (
                {f"{base}.{alias.name}" for alias in node.names} if base == "celosia" else {base}
            )
    return found


def part(name: str) -> str:
    return ".".join(name.split(".")[:2])


def test_packages_are_all_listed():
    found = {name for name, path in modules() if path.name == "__init__.py"}
    assert sorted(found) == SETUPTOOLS["packages"]


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for _, path in modules()}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("source", ARROWS)
def test_imports_follow_the_arrows(source):
    allowed = {source} | {f"celosia.{target}" for target in ARROWS[source]}
    wrong = [
        f"{name} imports {target}"
        for name, path in modules()
        if part(name) == source
        for target in imports(name, path)
        if (target.split(".")[0] == "celosia" and part(target) not in allowed)
        or (source in WITHOUT_AMARANTH and target.split(".")[0] == "amaranth")
    ]
    assert wrong == []


def test_the_import_reader_sees_every_form(tmp_path):
    path = tmp_path / "x.py"
    path.write_text(
        "import numpy.linalg, os\nfrom celosia import golden\n"
        "def f():\n    from ..isa import Opcode\n    from . import fixed\n"
    )
    assert imports("celosia.compiler.x", path) == {
        "numpy.linalg",
        "os",
        "celosia.golden",
        "celosia.isa",
        "celosia.compiler",
    }


def test_no_module_is_imported_by_its_folder():
    folders = set(SETUPTOOLS["package-dir"].values())
    sources = [*modules(), *((path.stem, path) for path in (ROOT / "scripts").glob("*.py"))]
    wrong = [
        f"{name} imports {target}"
        for name, path in sources
        for target in imports(name, path)
        if target.split(".")[0] in folders
    ]
    assert wrong == []


def test_tracked_files_hold_no_path_of_a_machine():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    path_of_a_machine = re.compile(rb"(?<![\w./~-])/(?:home|root|work|mnt|Users|var/tmp|tmp)/\w")
    wrong = [
        name
        for name in listing.stdout.split("\0")
        if name and (ROOT / name).is_file() and path_of_a_machine.search((ROOT / name).read_bytes())
    ]
    assert wrong == []


def test_errors_have_the_exit_status_of_their_kind():
    kinds = [getattr(errors, name) for name in errors.__all__]
    assert all(issubclass(kind, errors.CelosiaError) for kind in kinds)
    assert {kind.__name__ for kind in kinds if kind.exit_status == 1} == {"CheckFailed"}
    assert {kind.exit_status for kind in kinds if kind is not errors.CheckFailed} == {2}


def test_every_module_says_what_it_offers():
    silent = []
    for name, path in modules():
        tree = ast.parse(path.read_text())
        offers = any(isinstance(node, ast.ClassDef | ast.FunctionDef) for node in tree.body)
        names = {ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)}
        if offers and "__all__" not in names:
            silent.append(name)
    assert silent == []


def test_annotations_of_hardware_are_evaluated():
    """Amaranth reads members from annotations, which must not become strings."""
    wrong = [name for name, path in modules() if {"amaranth", "__future__"} <= imports(name, path)]
    assert wrong == []
