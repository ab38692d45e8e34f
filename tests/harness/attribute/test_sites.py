from pathlib import Path

import pytest

from leakline.harness.attribute.sites import shown_path, site_of
from leakline.harness.data.model import Frame

ROOT = Path("/srv/app")
USERS = Frame("/srv/app/server.py", 50, "serve", "user")
LIBRARY = Frame("/venv/lib/python3.11/site-packages/websockets/client.py", 9, "connect", "library")
STDLIB = Frame("/usr/lib/python3.11/asyncio/tasks.py", 7, "create_task", "stdlib")


@pytest.mark.parametrize(
    ("stack", "named"),
    [
        ((STDLIB, LIBRARY, USERS, Frame("/srv/app/server.py", 9, "main", "user")), "server.py:50  serve"),
        ((STDLIB, LIBRARY), "websockets/client.py:9  connect"),
        ((STDLIB,), "asyncio/tasks.py:7  create_task"),
    ],
    ids=["the user's innermost", "a library's", "the standard library's"],
)
def test_the_frame_named_is_the_users_then_a_librarys_then_the_standard_librarys(
    stack: tuple[Frame, ...], named: str
) -> None:
    assert str(site_of(stack, ROOT)) == named


def test_an_empty_stack_has_no_site() -> None:
    assert site_of((), ROOT) is None


def test_a_function_that_the_frame_does_not_tell_is_read_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.py"
    file.write_text("async def serve():\n    model = await connect(url)\n")
    site = site_of((Frame(str(file), 2, "", "user"), Frame(str(file), 9, "main", "user")), tmp_path)
    assert site is not None
    assert (site.function, site.text) == ("serve", "model = await connect(url)")
    assert site.context == ((1, "async def serve():"), (2, "    model = await connect(url)"))


def test_a_callback_without_a_name_is_known_by_the_function_of_its_file_that_called_it() -> None:
    callback = Frame("/srv/app/server.py", 7, "", "user")
    site = site_of((callback, LIBRARY, USERS), ROOT)
    assert str(site) == "server.py:7  serve"
    assert str(site_of((callback, LIBRARY), ROOT)) == "server.py:7"


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("/srv/app/bridge/model.py", "bridge/model.py"),
        ("/srv/other/model.py", "/srv/other/model.py"),
        ("/srv/app/.venv/lib/python3.11/site-packages/openai/_client.py", "openai/_client.py"),
        ("/usr/lib/python3.11/json/decoder.py", "json/decoder.py"),
        ("/opt/lib/python3.13t/json/decoder.py", "json/decoder.py"),
    ],
)
def test_a_file_is_shown_from_the_root_or_from_where_it_is_imported_from(file: str, shown: str) -> None:
    assert shown_path(file, ROOT) == shown


def test_a_file_behind_a_link_is_shown_as_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "server.py").touch()
    (tmp_path / "current").symlink_to(tmp_path / "app")
    assert shown_path(str(tmp_path / "current" / "server.py"), tmp_path) == "app/server.py"
    assert shown_path(str(tmp_path / "app" / "server.py"), tmp_path / "current") == "server.py"
