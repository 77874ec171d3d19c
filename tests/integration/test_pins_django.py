"""
Django requests see one revision each, under WSGI and ASGI; and the checks, command, page and start of the app.
"""

from __future__ import annotations

import asyncio
import datetime
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import types
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import django
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import include, path, re_path
from django.utils.decorators import async_only_middleware

import dflag
from dflag._snapshot import open_pins
from dflag.integrations import django as integration
from dflag.sources import MemorySource
from dflag.testing import ConfigMapVolume
from dflag.web import bearer_token

from ._pins import REQUESTS, Pair, Storm, check_storm, check_unpinned
from ._waiting import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.once

MODULE = "dflag_django_shop"
MIDDLEWARE = ["dflag.integrations.django.PinMiddleware"]
shop: Any = types.ModuleType(MODULE)


@pytest.fixture(scope="module", autouse=True)
def _set_up() -> Iterator[None]:
    """Set Django up, once in a process."""
    sys.modules[MODULE] = shop
    shop.pair = Pair()
    shop.flags = shop.pair.flags
    shop.urlpatterns = [*_patterns(), path("flags/", include("dflag.integrations.django.urls"))]
    shop.urlpatterns += [re_path("^staff/(?P<path>.*)$", _for_staff)]
    shop.inside, shop.outside, shop.inside_on_the_loop = _inside, _outside, _inside_on_the_loop
    shop.authorize = bearer_token("t0ken", "operator")
    settings.configure(
        ROOT_URLCONF=MODULE,
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["dflag.integrations.django"],
        MIDDLEWARE=MIDDLEWARE,
        DFLAG={"REGISTRY": f"{MODULE}:flags"},
    )
    django.setup()
    asyncio.run(sync_to_async(int)())  # starts a thread that never ends
    yield
    del sys.modules[MODULE]


@pytest.fixture(name="pair")
def _pair() -> Iterator[Pair]:
    """Yield two flags that are equal in each revision, and fail if a pin is left open."""
    shop.pair = Pair()
    shop.flags = shop.pair.flags
    yield shop.pair
    integration.stop()
    check_unpinned()


def configured(**more: Any) -> override_settings:
    """
    Return a context manager that sets further keys of the setting DFLAG.
    """
    return override_settings(DFLAG={"REGISTRY": f"{MODULE}:flags", **more})


# --- views


def function(_request: Any) -> JsonResponse:
    before = shop.pair.one.get()
    shop.pair.swap()
    return JsonResponse([before, shop.pair.two.get()], safe=False)


async def coroutine(_request: Any) -> JsonResponse:
    before = shop.pair.one.get()
    shop.pair.swap()
    await asyncio.sleep(0)
    return JsonResponse([before, shop.pair.two.get()], safe=False)


def streamed(_request: Any) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        try:
            yield f"[{shop.pair.one.get()}, "
            shop.pair.swap()
            yield f"{shop.pair.two.get()}]"
        finally:
            shop.ended = shop.pair.two.get()

    return StreamingHttpResponse(parts(), content_type="application/json")


async def streamed_by_a_coroutine(_request: Any) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        yield f"[{shop.pair.one.get()}, "
        shop.pair.swap()
        await asyncio.sleep(0)
        yield f"{shop.pair.two.get()}]"

    return StreamingHttpResponse(parts(), content_type="application/json")


def broken(_request: Any) -> None:
    shop.pair.swap()
    raise RuntimeError(str(shop.pair.one.get()))


def file(_request: Any) -> FileResponse:
    return FileResponse(io.BytesIO(b"file"))


async def waiting(_request: Any) -> JsonResponse:
    seen = [shop.pair.one.get()]
    await shop.barrier.wait()
    for _ in range(3):
        seen.append(shop.pair.two.get())
        await asyncio.sleep(0)
        seen.append(shop.pair.one.get())
    return JsonResponse(seen, safe=False)


async def endless(_request: Any) -> HttpResponse:
    shop.entered.set()
    try:
        await asyncio.Event().wait()
    finally:
        shop.ended = shop.pair.one.get()
    return HttpResponse()


def _patterns() -> list[Any]:
    views = (function, coroutine, streamed, streamed_by_a_coroutine, broken, file, waiting, endless)
    return [path(view.__name__, view) for view in views]


def _for_staff(request: Any, path: str) -> Any:
    return integration.page(request, path) if request.headers.get("X-Staff") else HttpResponse(status=403)


def _inside(get_response: Any) -> Any:
    """
    Return a synchronous middleware that checks that it sees one revision before and after the view.
    """

    def middleware(request: Any) -> Any:
        before = shop.pair.one.get()
        response = get_response(request)
        assert shop.pair.two.get() == before
        return response

    return middleware


@async_only_middleware  # type: ignore[untyped-decorator]  # Django has no types
def _inside_on_the_loop(get_response: Any) -> Any:
    """
    Return an asynchronous middleware that checks that it sees one revision before and after the view.
    """

    async def middleware(request: Any) -> Any:
        before = shop.pair.one.get()
        response = await get_response(request)
        assert shop.pair.two.get() == before
        return response

    return middleware


def _outside(get_response: Any) -> Any:
    """
    Return a synchronous middleware that checks that it sees the newest revision after the request.
    """

    def middleware(request: Any) -> Any:
        response = get_response(request)
        assert shop.pair.one.get() == shop.pair.live()
        return response

    return middleware


# --- requests


@pytest.mark.parametrize("view", [function, coroutine, streamed])
def test_a_swap_is_seen_by_the_next_request(pair: Pair, view: Any) -> None:
    """Under WSGI, a request keeps its revision when another is committed; the next request sees the new one."""
    client = Client()
    for number in range(3):
        response: Any = client.get(f"/{view.__name__}")
        body = b"".join(response) if response.streaming else response.content
        assert json.loads(body) == [number, number]
        assert pair.one.get() == number + 1


@pytest.mark.parametrize(
    "middleware",
    [
        MIDDLEWARE,
        [*MIDDLEWARE, f"{MODULE}.inside"],
        [*MIDDLEWARE, f"{MODULE}.inside_on_the_loop"],
        [f"{MODULE}.outside", *MIDDLEWARE],
    ],
)
@pytest.mark.parametrize("view", [function, coroutine, streamed_by_a_coroutine])
def test_a_swap_is_seen_by_the_next_asynchronous_request(pair: Pair, view: Any, middleware: list[str]) -> None:
    """Under ASGI, a request keeps its revision if another is committed, with views and middlewares of both kinds."""

    async def main() -> None:
        client = AsyncClient()
        for number in range(3):
            response: Any = await client.get(f"/{view.__name__}")
            body = b"".join([part async for part in response]) if response.streaming else response.content
            assert json.loads(body) == [number, number]
            assert pair.one.get() == number + 1

    with override_settings(MIDDLEWARE=middleware):
        asyncio.run(main())


def test_without_the_middleware_a_swap_is_seen(pair: Pair) -> None:
    """Without the middleware, a request sees a revision that is committed in its middle; other tests rely on this."""
    with override_settings(MIDDLEWARE=[]):
        assert Client().get("/function").json() == [0, 1]


def test_the_pin_is_held_until_a_stream_is_closed(pair: Pair) -> None:
    """A stream sees the request's revision in its parts and when it is closed, while the server sees the newest one."""
    middleware = integration.PinMiddleware(streamed)
    response = middleware(RequestFactory().get("/"))
    pair.swap()
    parts = iter(response)
    assert next(parts) == b"[0, "
    assert (pair.one.get(), len(open_pins)) == (1, 1)
    pair.swap()
    response.close()
    assert shop.ended == 0
    check_unpinned()
    assert pair.one.get() == 2


def test_a_stream_of_a_coroutine_is_pinned_part_by_part(pair: Pair) -> None:
    """Between two parts of an asynchronous stream the server sees the newest revision, in the same context."""

    async def main() -> None:
        middleware = integration.PinMiddleware(streamed_by_a_coroutine)
        response = await middleware(RequestFactory().get("/"))
        parts = aiter(response)
        assert await anext(parts) == b"[0, "
        assert pair.swap() == pair.one.get()
        assert [part async for part in parts] == [b"0]"]
        response.close()

    asyncio.run(main())


def test_a_file_is_left_to_the_server(pair: Pair) -> None:
    """A file response reaches the server unchanged and holds no pin."""
    response = integration.PinMiddleware(file)(RequestFactory().get("/"))
    check_unpinned()
    assert response.file_to_stream is not None
    assert b"".join(response) == b"file"
    response.close()


def test_an_exception_unpins(pair: Pair) -> None:
    """A view that raises leaves no pin, under WSGI and under ASGI."""
    client = Client(raise_request_exception=True)
    with pytest.raises(RuntimeError, match="0"):
        client.get("/broken")
    check_unpinned()
    with pytest.raises(RuntimeError, match="1"):
        integration.PinMiddleware(broken)(RequestFactory().get("/"))
    check_unpinned()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="2"):
            await AsyncClient().get("/broken")

    asyncio.run(main())


def test_a_cancelled_request_unpins(pair: Pair) -> None:
    """A request that is cancelled while it waits sees its revision to the end, and leaves no pin."""

    async def main() -> None:
        shop.entered = asyncio.Event()
        task = asyncio.ensure_future(AsyncClient().get("/endless"))
        await asyncio.wait_for(shop.entered.wait(), DEADLINE_SECONDS)
        pair.swap()
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    assert shop.ended == 0


@pytest.mark.untraced
def test_a_thousand_requests_in_a_storm(pair: Pair) -> None:
    """Of 1,000 requests that are all under way while revisions are committed, none sees two revisions."""

    async def main() -> list[tuple[int, ...]]:
        shop.barrier = asyncio.Barrier(REQUESTS)
        client = AsyncClient()
        with Storm(pair):
            answers: list[Any] = await asyncio.gather(*(client.get("/waiting") for _ in range(REQUESTS)))
        return [tuple(answer.json()) for answer in answers]

    check_storm(asyncio.run(main()))


def test_the_header_says_the_revision(pair: Pair) -> None:
    """A response has X-Config-Revision if the setting has REVISION_HEADER, and lacks it by default."""
    pair.swap()
    with configured(REVISION_HEADER=True):
        client = Client()
        for view in ("/function", "/streamed", "/nowhere"):
            revision = pair.flags.snapshot().revision
            response: Any = client.get(view)
            assert response.headers["X-Config-Revision"] == str(revision)
            response.close()
    assert "X-Config-Revision" not in Client().get("/function").headers


# --- the setting


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (None, 'expected DFLAG as a dict with "REGISTRY" and "SOURCE", got None'),
        ({}, "expected 'REGISTRY' as package.module:attribute, got nothing"),
        ({"REGISTRY": MODULE}, f"expected 'REGISTRY' as package.module:attribute, got '{MODULE}'"),
        ({"REGISTRY": f"{MODULE}:flag"}, r"there is no 'flag' \(did you mean 'flags'\?\)"),
        ({"REGISTRY": f"{MODULE}:urlpatterns"}, "to be a dflag.FlagRegistry or a dflag.Flags class, got list"),
        ({"REGISTRY": f"{MODULE}:flags", "SOURCES": "x"}, r"unknown key 'SOURCES' \(did you mean 'SOURCE'\?\)"),
        ({"REGISTRY": f"{MODULE}:flags", "OPTIONS": []}, r"expected 'OPTIONS' as a dict .*, got \[\]"),
        ({"REGISTRY": f"{MODULE}:flags", "COMMANDS": "shell"}, "expected 'COMMANDS' as several names"),
        ({"REGISTRY": f"{MODULE}:flags", "REVISION_HEADER": 1}, "expected 'REVISION_HEADER' as True or False, got 1"),
        ({"REGISTRY": f"{MODULE}:flags", "AUTHORIZE": "me"}, "expected 'AUTHORIZE' as a callable or"),
        ({"REGISTRY": f"{MODULE}:flags", "TITLE": 1}, "expected 'TITLE' as a text, got 1"),
        ({"REGISTRY": f"{MODULE}:flags", "AUTHORIZE": f"{MODULE}:urlpatterns"}, "a plain function .*, got list"),
        ({"REGISTRY": f"{MODULE}:flags", "AUTHORIZE": integration.PinMiddleware._respond}, "got a coroutine function"),
        ({"REGISTRY": f"{MODULE}:flags", "OPTIONS": {"atomik": True}}, r"'atomik' \(did you mean 'atomic'\?\)"),
    ],
)
def test_a_wrong_setting(pair: Pair, setting: Any, message: str) -> None:
    """A wrong setting raises ImproperlyConfigured in the middleware and `start()`, and the system check reports it."""
    with override_settings(DFLAG=setting):
        with pytest.raises(ImproperlyConfigured, match=message):
            integration.PinMiddleware(function)
        with pytest.raises(ImproperlyConfigured, match=message):
            integration.start()
        (found,) = checks.run_checks(tags=["dflag"])
        assert (found.id, found.level) == ("dflag.E001", checks.ERROR)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"SOURCE": 5}, "DFLAG: expected source as a path"),
        ({"SOURCE": "x", "OPTIONS": {"atomic": 1}}, "DFLAG: expected atomic as True or False, got 1"),
    ],
)
def test_what_the_updater_refuses_is_a_wrong_setting(pair: Pair, setting: dict[str, Any], message: str) -> None:
    """A source or an option that the updater refuses raises ImproperlyConfigured in `start()`."""
    given = {"REGISTRY": f"{MODULE}:flags", **setting}
    with override_settings(DFLAG=given), pytest.raises(ImproperlyConfigured, match=message):
        integration.start()
    assert integration.updater() is None


def test_a_callable_makes_the_registry_once(pair: Pair) -> None:
    """If REGISTRY is a callable, the page, the updater and the middleware use one registry, which is made once."""
    made: list[Pair] = []

    def make() -> dflag.FlagRegistry:
        made.append(Pair())
        return made[-1].flags

    def view(_request: Any) -> JsonResponse:
        made[0].swap()
        return JsonResponse(made[0].one.get(), safe=False)

    shop.make = make
    with override_settings(DFLAG={"REGISTRY": f"{MODULE}:make", "SOURCE": MemorySource({"one": "5"})}):
        integration.start()
        assert Client().get("/flags/?name=one").json()["flags"][0]["current_value"] == "5"
        assert json.loads(integration.PinMiddleware(view)(RequestFactory().get("/")).content) == 5
        integration.stop()
    assert len(made) == 1


def test_a_class_of_flags(pair: Pair) -> None:
    """REGISTRY may be a class of flags, whose `current()` is the same instance throughout a request."""

    class Settings(dflag.Flags):
        rate = dflag.dyn_int(50)

    def view(_request: Any) -> JsonResponse:
        before = Settings.current()
        Settings.rate.set(60)
        return JsonResponse([before.rate, Settings.current().rate, Settings.current() is before], safe=False)

    shop.Settings = Settings
    with override_settings(DFLAG={"REGISTRY": f"{MODULE}:Settings"}):
        response = integration.PinMiddleware(view)(RequestFactory().get("/"))
    assert json.loads(response.content) == [50, 50, True]
    assert Settings.current().rate == 60
    Settings.rate.reset()


# --- start and stop


def test_start_and_stop(pair: Pair) -> None:
    """`start()` starts the updater of the setting once, with its options, and again after `stop()`."""
    assert integration.start() is None
    source = MemorySource({"one": "many", "two": "7"})
    with configured(SOURCE=source), pytest.raises(dflag.UpdateError, match="one"):
        integration.start()
    assert integration.updater() is None
    for _ in range(2):
        with configured(SOURCE=source, OPTIONS={"on_bad_start": "skip"}):
            updater = integration.start()
            assert updater is not None
            assert integration.start() is updater is integration.updater()
            assert pair.two.get() == 7
        integration.stop()
        integration.stop()
        assert updater.status().state == "stopped"
        assert integration.updater() is None


# --- system checks


def found() -> list[tuple[str, str]]:
    """
    Return the identifiers and messages of the system checks of flags.
    """
    return [(each.id, each.msg) for each in checks.run_checks(tags=["dflag"])]


def test_checks_of_flags(pair: Pair) -> None:
    """The system checks report flags past their expiry date, and names that share an environment variable."""
    assert found() == []
    today = datetime.date.today()  # noqa: DTZ011 - the check uses the local date too
    yesterday = today - datetime.timedelta(1)
    pair.flags.dyn_bool("old.way", False, expires=yesterday, owner="team-a")
    pair.flags.dyn_bool("old-way", False, expires=today)
    assert found() == [
        ("dflag.W002", f"flag 'old.way' was to be gone by {yesterday}, ask team-a"),
        ("dflag.W003", "flags 'old-way', 'old.way' would read the same environment variable, OLD_WAY"),
    ]


@pytest.mark.parametrize("running", [False, True])
def test_checks_of_the_source(pair: Pair, tmp_path: Path, running: bool) -> None:
    """The system checks report unknown keys and refused values of the source, whether the updater runs or not."""
    volume = ConfigMapVolume(tmp_path / "config")
    volume.write({"one": "many", "twoo": "2", "_example": "x", "spare.txt": "x"})
    options = {"on_bad_start": "skip", "ignore": ["_example", "*.txt"]}
    with configured(SOURCE=volume.path, OPTIONS=options):
        if running:
            integration.start()
        (unknown, unknown_message), (refused, refused_message) = found()
        integration.stop()
    assert (unknown, refused) == ("dflag.W001", "dflag.E002")
    assert "unknown key 'twoo'" in unknown_message
    assert "did you mean 'two'" in unknown_message
    assert "flag 'one': expected an int, got 'many'" in refused_message
    assert pair.one.get() == 0


@pytest.mark.parametrize("running", [False, True])
def test_checks_of_rules(pair: Pair, running: bool) -> None:
    """The system checks report a refused rule as they report a bad value, and do not report a good rule."""
    rules = "- when: {zone: a}\n  set: {one: 1}\n- set: {three: 3}\n"
    with configured(SOURCE=MemorySource({"_rules.yaml": rules}), OPTIONS={"on_bad_start": "skip"}):
        if running:
            integration.start()
        (unknown, unknown_message), (refused, refused_message) = found()
        integration.stop()
    assert (unknown, refused) == ("dflag.W001", "dflag.E002")
    assert "unknown key 'three'" in unknown_message
    assert "rule 2: no flag named 'three'" in refused_message


def test_checks_without_the_volume(pair: Pair, tmp_path: Path) -> None:
    """The system checks ignore a source that does not exist, as in an image build, but report a wrong SOURCE."""
    with configured(SOURCE=tmp_path / "nowhere"):
        assert found() == []
    with configured(SOURCE=5):
        ((identifier, message),) = found()
    assert identifier == "dflag.E001"
    assert "expected source as a path" in message


def test_checks_across_flags(pair: Pair) -> None:
    """The system checks report values of the source, and rules in it, that a registry validator refuses."""

    @pair.flags.validator
    def ordered(snapshot: dflag.Snapshot) -> None:
        if snapshot[pair.one] > snapshot[pair.two]:
            raise ValueError("one is above two")

    rules = "[{name: a, set: {one: 2}}, {name: b, set: {two: 1}}]"
    for values, problem in (
        ({"one": "3", "two": "2"}, "one is above two"),
        ({"two": "2", "_rules.yaml": rules}, "rule 'b': it does not go together with others"),
    ):
        with configured(SOURCE=MemorySource(values)):
            ((identifier, message),) = found()
        assert identifier == "dflag.E002"
        assert problem in message


# --- the command


def run_command(*arguments: str) -> str:
    """
    Run ``manage.py dflag``, and return what it prints.
    """
    out = io.StringIO()
    call_command("dflag", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_knows_the_registry(pair: Pair, tmp_path: Path) -> None:
    """The command uses the registry of the setting, or another one that its arguments name."""
    assert "`two`" in run_command("docs")
    assert json.loads(run_command("schema"))["properties"].keys() == {"one", "two"}
    shop.other = dflag.FlagRegistry()
    shop.other.int("three", 3)
    assert json.loads(run_command("schema", f"{MODULE}:other"))["properties"].keys() == {"three"}
    document = tmp_path / "values.yaml"
    document.write_text("one: 5\n", encoding="utf-8")
    assert json.loads(run_command("check", str(document), "--format", "json"))["ok"]
    document.write_text("one: many\n", encoding="utf-8")
    with pytest.raises(CommandError) as caught:
        run_command("check", "--format=json", str(document))
    assert caught.value.returncode == 1
    with pytest.raises(CommandError) as caught:
        run_command("write", str(tmp_path / "config"), "one=many")
    assert caught.value.returncode == 1
    run_command("write", str(tmp_path / "config"), "one=5")
    assert ConfigMapVolume(tmp_path / "config").read() == {"one": b"5"}


# --- the page


def test_the_page(pair: Pair) -> None:
    """The page, its files and its JSON work below the path at which a project includes them."""
    client = Client()
    page: Any = client.get("/flags/", headers={"Accept": "text/html"})
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    links = re.findall(r'(?:href|src)="([^"]+)"', page.content.decode())
    assert {"static/page.css", "static/page.js"} <= set(links)
    assert {client.get(urljoin("/flags/", link)).status_code for link in links} == {200}
    listing: Any = client.get("/flags/?name=one")
    assert [flag["name"] for flag in listing.json()["flags"]] == ["one"]
    again: Any = client.get("/flags/?name=one", headers={"If-None-Match": listing.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/flags/nowhere").status_code == 404
    assert client.get("/staff/").status_code == 403
    assert client.get("/staff/static/page.js", headers={"X-Staff": "1"}).status_code == 200
    assert client.post("/flags/set", {}, content_type="application/json").status_code == 403


def test_setting_on_the_page(pair: Pair) -> None:
    """A client that AUTHORIZE accepts may set flags, another gets 401; a body over the limit gets 413."""
    with configured(SOURCE=MemorySource({}), AUTHORIZE=f"{MODULE}:authorize", TITLE="Shop"):
        integration.start()
        client = Client(enforce_csrf_checks=True)
        assert client.get("/flags/").json()["title"] == "Shop"
        assert client.get("/flags/").json()["updater"]["state"] == "running"
        headers = {"Authorization": "Bearer t0ken"}
        body = {"name": "one", "value": "5"}
        assert client.post("/flags/set", body, content_type="application/json").status_code == 401
        answer: Any = client.post("/flags/set", body, content_type="application/json", headers=headers)
        assert (answer.status_code, pair.one.get()) == (200, 5)
        large = b" " * (2**20 + 2**12 + 1)
        answer = client.post("/flags/set", large, content_type="application/json", headers=headers)
        assert answer.status_code == 413
        answer = client.post("/flags/set", b"{", content_type="application/json", headers=headers)
        assert answer.status_code == 400
    pair.one.reset()


# --- processes of a project

PROJECT = {
    "manage.py": """
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
execute_from_command_line(sys.argv)
""",
    "project/__init__.py": "",
    "project/settings.py": """
import os
ROOT_URLCONF = "project.urls"
ALLOWED_HOSTS = ["*"]
DEBUG = True
INSTALLED_APPS = ["dflag.integrations.django", "project"]
MIDDLEWARE = ["dflag.integrations.django.PinMiddleware"]
WSGI_APPLICATION = "project.server.wsgi"
DFLAG = {"REGISTRY": "project.flags:flags", "SOURCE": os.environ["SHOP_CONFIG"], "COMMANDS": ["follow"]}
""",
    "project/flags.py": """
import os
import dflag
flags = dflag.FlagRegistry("shop")
rate = flags.dyn_int("rate", 50)
rate.on_change(lambda old, new: os.write(2, b"changed in %d\\n" % os.getpid()))
""",
    "project/urls.py": """
import os
from django.http import JsonResponse
from django.urls import path
from dflag.integrations.django import updater
from project.flags import rate

def state(request):
    return JsonResponse([updater().status().state, rate.get(), os.getpid()], safe=False)

urlpatterns = [path("state", state)]
""",
    "project/server.py": """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
asgi, wsgi = get_asgi_application(), get_wsgi_application()
""",
    "project/management/commands/follow.py": """
from django.core.management.base import BaseCommand
from dflag.integrations.django import start, updater
from project.flags import rate

class Command(BaseCommand):
    def handle(self, *args, **options):
        print(updater() and updater().status().state, rate.get())
        start()
        print(updater().status().state, rate.get())
""",
}
PROJECT["project/management/commands/leave.py"] = PROJECT["project/management/commands/follow.py"]

SERVERS = {
    "runserver": ["manage.py", "runserver", "--noreload", "127.0.0.1:0"],
    "runserver that reloads": ["manage.py", "runserver", "127.0.0.1:0"],
    "gunicorn": ["-m", "gunicorn", "--no-control-socket", "--bind=127.0.0.1:0", "project.server:wsgi"],
    "gunicorn that preloads": [
        *("-m", "gunicorn", "--preload", "--no-control-socket", "--bind=127.0.0.1:0", "project.server:wsgi")
    ],
    "uvicorn": ["-m", "uvicorn", "--port=0", "--lifespan=off", "project.server:asgi"],
}


@pytest.fixture(name="project")
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of a project, whose source holds a rate of 60."""
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    ConfigMapVolume(tmp_path / "config").write({"rate": "60", "rat": "1"})
    monkeypatch.setenv("SHOP_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.delenv("RUN_MAIN", raising=False)
    return tmp_path


def manage(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """
    Run ``manage.py`` in a process of its own.
    """
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=3 * DEADLINE_SECONDS,
        check=False,
    )


def test_a_command_of_the_project(project: Path) -> None:
    """A management command has an updater, and the source's values, only if COMMANDS names it or it calls `start()`."""
    assert manage(project, "leave").stdout == "None 50\nrunning 60\n"
    assert manage(project, "follow").stdout == "running 60\nrunning 60\n"


def test_manage_py_of_the_project(project: Path) -> None:
    """`manage.py check` reports faults of the source; `manage.py dflag` has its own arguments, exit status and help."""
    checked = manage(project, "check")
    assert checked.returncode == 0
    assert "dflag.W001" in checked.stderr
    assert "did you mean 'rate'" in checked.stderr
    assert "changed in" not in checked.stderr
    assert manage(project, "dflag", "check", "--strict", "config", "--settings=project.settings").returncode == 1
    assert "rate" in manage(project, "dflag", "docs").stdout
    assert "--strict" in manage(project, "dflag", "check", "--help").stdout
    assert manage(project, "dflag", "check").returncode == 2
    (project / "config" / "..data" / "rate").write_text("many", encoding="utf-8")
    assert "dflag.E002" in manage(project, "check").stderr


@pytest.mark.untraced
@pytest.mark.parametrize("name", SERVERS)
def test_a_server_follows_the_source(project: Path, name: str) -> None:
    """Under every server, the serving process has a running updater; the process that reloads runserver has none."""
    command = SERVERS[name]
    if command[0] == "-m":
        pytest.importorskip(command[1])
    process = subprocess.Popen(
        [sys.executable, "-u", *command],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},  # also for the reloader's child, which gets no option
        start_new_session=True,
    )
    assert process.stdout
    watchdog = threading.Timer(5 * DEADLINE_SECONDS, os.killpg, (process.pid, signal.SIGKILL))
    watchdog.start()
    changed: list[int] = []
    try:
        for line in process.stdout:
            changed += map(int, re.findall(r"changed in (\d+)", line))
            if match := re.search(r"(?:[Ll]istening at|running on|server at)\D*(http://127\.0\.0\.1:\d+)", line):
                break
        else:
            pytest.fail("the server did not start")
        with urllib.request.urlopen(f"{match[1]}/state", timeout=DEADLINE_SECONDS) as answer:  # noqa: S310 - its own
            state, rate, pid = json.load(answer)
    finally:
        watchdog.cancel()
        watchdog.join()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert (state, rate) == ("running", 60)
    if name == "runserver that reloads":
        assert pid != process.pid
        assert changed == [pid]
