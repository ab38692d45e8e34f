"""The GitHub action and the GitLab job of `docs/ci.md`, run as their runners do: by bash, in a checkout."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.thorough  # it installs leakline with all that it needs
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")
"""GitHub's documented default for `shell: bash`; GitLab's runner sets the same options."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a leaking server and its settings, and leakline beside it."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "leakline").symlink_to(ROOT)
    for name in ("bridge.py", "unruly.py"):
        shutil.copy(ROOT / "tests" / "suts" / name, folder)
    (folder / "leakline.toml").write_text(
        f'sut = "{sys.executable} bridge.py {{port}} file"\nurl = "ws://127.0.0.1:{{port}}/"\n'
        "cycles = 24\nconcurrency = 3\nwarmup = 4\nsettle = 0.5\n"
    )
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**given, "RUNNER_TEMP": str(folder / "temp"), "PIP_DISABLE_PIP_VERSION_CHECK": "1", **more}


def bash(script: str, folder: Path, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*BASH, script], cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def steps(checkout: Path) -> list[dict[str, Any]]:
    """The action's steps that are left when it has installed itself."""
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    rest: list[dict[str, Any]]
    install, *rest = action["runs"]["steps"]
    done = bash(install["run"], checkout, environment(checkout, GITHUB_ACTION_PATH=str(ROOT)))
    assert done.returncode == 0, done
    return rest


@pytest.mark.parametrize("options", ["", "--cycles 16 --env 'NOTE=in words $(touch pwned)'"])
def test_the_action_fails_with_the_leak_on_its_line(
    checkout: Path, steps: list[dict[str, Any]], tmp_path: Path, options: str
) -> None:
    (step,) = steps
    inputs = {"options": options, "baseline": ""}
    given = {
        name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: inputs[found[1]], value)
        for name, value in step["env"].items()
    }
    summary = tmp_path / "summary.md"
    env = environment(checkout, GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary), **given)
    done = bash(step["run"], checkout, env)
    assert done.returncode == 1, done
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("::error")]
    assert "file=bridge.py,line=" in line
    assert "LEAKING" in done.stdout
    assert "fds" in summary.read_text(encoding="utf-8")
    assert not (checkout / "pwned").exists()


@pytest.mark.usefixtures("steps")
def test_the_gitlab_job_fails_and_leaves_its_junit_file(checkout: Path) -> None:
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    (job,) = (block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if block.startswith("soak:"))
    soak = yaml.safe_load(job)["soak"]
    path = f"{checkout / 'temp' / 'leakline' / 'bin'}:{os.environ['PATH']}"  # installed there once more
    done = bash("\n".join(soak["script"]), checkout, environment(checkout, PATH=path))
    assert done.returncode == 1, done
    assert "<failure" in (checkout / soak["artifacts"]["reports"]["junit"]).read_text(encoding="utf-8")
