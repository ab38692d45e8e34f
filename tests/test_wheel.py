"""The wheel, in a virtual environment that has nothing else of leakline, in another folder."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a virtual environment `venv`, the wheel installed in it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    quiet = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, cwd=folder)
    venv.create(folder / "venv", symlinks=True, with_pip=False)
    (wheel,) = folder.glob("*.whl")
    packages = Path(
        sysconfig.get_path("purelib", vars={"base": str(folder / "venv"), "platbase": str(folder / "venv")})
    )
    install = [*quiet, "--python", str(folder / "venv"), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, cwd=folder)
    # What leakline depends on, from where it is installed: a path in a .pth file, whose own .pth files (such as that
    # of the editable install) do not count.
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder


def run(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    program = str(folder / "venv" / "bin" / command[0])
    return subprocess.run(
        [program, *command[1:]], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_it_soaks_its_demo(elsewhere: Path) -> None:
    where = run(elsewhere, "python", "-c", "import harness; print(harness.__file__)")
    assert where.stdout.startswith(str(elsewhere)), where
    leaking = run(
        elsewhere, "leakline", "soak", "--leaks", "websocket_listeners", "--cycles", "32", "--settle", "0.5"
    )
    assert leaking.returncode == 1, leaking
    assert "CallSession._listen" in leaking.stdout


def test_its_pytest_plugin_is_there(elsewhere: Path) -> None:
    (elsewhere / "test_it.py").write_text(
        "from leakline_pytest import no_growth\n"
        "def test_plugin(fake_openai):\n    assert fake_openai.base_url.startswith('http://127.0.0.1')\n"
    )
    done = run(elsewhere, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
    assert done.returncode == 0, done


def test_types_and_what_is_not_code_are_shipped_and_tests_are_not(elsewhere: Path) -> None:
    (wheel,) = elsewhere.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("fakes", "harness", "reports", "scenarios"):
        assert f"{package}/py.typed" in names
    assert {"reports/page/report.html.j2", "harness/agents/node/commands.cjs", "restaurant_node/server.mjs"} <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/")) or "node_modules" in name]
