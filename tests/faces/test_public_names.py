"""What `import leakline` offers, and what it costs."""

import subprocess
import sys
from importlib.metadata import version

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


@pytest.mark.parametrize("module", ["leakline", "leakline.pytest_plugin"])
def test_it_imports_none_of_the_rooms_and_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert module in loaded
    rooms = ("fakes", "harness", "reports", "restaurant", "scenarios")
    assert not [name for name in loaded if name.startswith(tuple(f"leakline.{room}" for room in rooms))]
    assert not {"aiohttp", "numpy", "rich", "jinja2"} & set(loaded)
