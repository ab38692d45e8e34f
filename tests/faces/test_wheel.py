"""The wheel, alone in a virtual environment, used in a project with folders of our rooms' names."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("fakes", "harness", "reports", "restaurant", "scenarios")
SHORT = ("--cycles", "24", "--warmup", "4", "--concurrency", "3", "--settle", "0.3", "--scenario", "voicemail")
URL = ("--url", "ws://127.0.0.1:{port}/")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a virtual environment `venv`, the wheel installed in it, and rooms of its own by our names.

    It is a git repository of two commits: its server leaks a task of each call since the second.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in (*OURS, "tests/fakes"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise ImportError('the project has its own')\n")
    quiet = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
    subprocess.run([*build, str(folder / "sdist"), str(ROOT)], check=True, cwd=folder)  # and from it a wheel
    subprocess.run([*build, str(folder), "--wheel", str(ROOT)], check=True, cwd=folder)
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
    (folder / ".gitignore").write_text("venv\nruns\nsdist\n*.whl\n__pycache__\n")
    bridge = (ROOT / "tests" / "suts" / "bridge.py").read_text()
    git("init", "--quiet", "--initial-branch", "main", at=folder)
    for text, message in ((bridge, "sound"), (bridge.replace("LEAK = sys.argv[2]", 'LEAK = "task"'), "leaks")):
        (folder / "server.py").write_text(text)
        git("add", ".", at=folder)
        git("-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "-m", message, at=folder)
    return folder


def git(*words: str, at: Path) -> None:
    subprocess.run(["git", *words], cwd=at, check=True)


def run(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment |= {"PYTHONPATH": ".", "PATH": f"{folder / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    program = str(folder / "venv" / "bin" / command[0])
    return subprocess.run(
        [program, *command[1:]], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_one_package_is_installed_and_nothing_else(elsewhere: Path) -> None:
    (wheel,) = elsewhere.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"leakline"}
    assert {
        "leakline/py.typed",
        "leakline/reports/page/report.html.j2",
        "leakline/harness/agents/node/commands.cjs",
        "leakline/restaurant_node/server.mjs",
    } <= names
    assert not [name for name in names if "tests/" in name or "benchmarks/" in name or "node_modules" in name]


def test_a_source_distribution_makes_the_same_wheel(elsewhere: Path) -> None:
    (wheel,) = elsewhere.glob("*.whl")
    (from_source,) = (elsewhere / "sdist").glob("*.whl")
    assert zipfile.ZipFile(from_source).namelist() == zipfile.ZipFile(wheel).namelist()


def test_it_soaks_its_demo(elsewhere: Path) -> None:
    where = run(elsewhere, "python", "-c", "import leakline.harness; print(leakline.harness.__file__)")
    assert where.stdout.startswith(str(elsewhere)), where
    leaking = run(
        elsewhere, "leakline", "soak", "--leaks", "websocket_listeners", "--cycles", "32", "--settle", "0.5"
    )
    assert leaking.returncode == 1, leaking
    assert "CallSession._listen" in leaking.stdout


def test_it_soaks_a_server_among_folders_of_the_same_names(elsewhere: Path) -> None:
    done = run(elsewhere, "python", "-m", "leakline", "soak", "--sut", "python server.py {port} task", *URL, *SHORT)
    assert done.returncode == 1, done
    assert "server.py" in done.stdout


def test_it_puts_load_on_one(elsewhere: Path) -> None:
    load = ("leakline", "load", "-u", "4", "-t", "4s", "--speed", "10", "--settle", "1", "--memory-every", "1")
    done = run(elsewhere, *load, "--sut", "python server.py {port} none", *URL)
    assert "LEAKING" in done.stdout, done  # its second commit leaks whatever it is told
    assert done.returncode == 1, done


def test_it_watches_one(elsewhere: Path) -> None:
    done = run(
        elsewhere, "leakline", "watch", "--pid", str(os.getpid()), "--for", "0.3", "--every", "0.1", "--no-agent"
    )
    assert done.returncode == 0, done
    assert "rss" in done.stdout


def test_it_bisects_one(elsewhere: Path) -> None:
    soak = ("--sut", "python server.py {port} none", *URL, *SHORT)
    done = run(elsewhere, "leakline", "bisect", "--good", "main~1", "--bad", "main", *soak)
    assert done.returncode == 0, done
    assert "is the first bad commit" in done.stdout, done
    assert "leaks" in done.stdout.partition("is the first bad commit")[2]


def test_its_pytest_plugin_is_there(elsewhere: Path) -> None:
    (elsewhere / "test_it.py").write_text(
        "from leakline import no_growth\n"
        "def test_plugin(fake_openai, soak):\n"
        "    assert fake_openai.base_url.startswith('http://127.0.0.1')\n"
        "    soak(sut='python server.py {port} none', url='ws://127.0.0.1:{port}/', cycles=24, settle=0.3)\n"
    )
    done = run(elsewhere, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
    assert done.returncode == 1, done
    assert "leakline: leaking" in done.stdout
    assert "server.py" in done.stdout
