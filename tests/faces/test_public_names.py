"""What `import leakline` offers, and what it costs."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import leakline


@pytest.mark.parametrize("name", leakline.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(leakline, name) is not None
    assert name in dir(leakline)


def test_one_that_is_not_is_told_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'leakline' has no attribute 'soack'"):
        _ = leakline.soack


def test_the_version_is_that_of_the_installed_distribution() -> None:
    assert leakline.__version__ == version("leakline")
    shown = subprocess.run(
        [sys.executable, "-m", "leakline", "--version"], capture_output=True, text=True, check=True
    )
    assert shown.stdout == f"leakline, version {leakline.__version__}\n"


def test_a_module_of_the_project_in_the_way_of_a_package_is_not_taken_for_a_leak(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise ImportError('click of this project')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-P", "-m", "leakline", "scenarios"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done
    assert "cannot be imported: click of this project" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["leakline", "leakline.pytest_plugin"])
def test_it_imports_none_of_the_rooms_and_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert module in loaded
    rooms = ("fakes", "harness", "reports", "restaurant", "scenarios")
    assert not [name for name in loaded if name.startswith(tuple(f"leakline.{room}" for room in rooms))]
    assert not {"aiohttp", "numpy", "rich", "jinja2"} & set(loaded)
