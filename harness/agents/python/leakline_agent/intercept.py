"""Leads connections to intercepted hosts to the fakes: look-ups answer with their addresses, TLS trusts them.

Covers what resolves names by `socket.getaddrinfo` (asyncio, httpx, aiohttp, requests, websockets) and uvloop, which
does so in C.
"""

import os
import socket
import ssl
import sys
from importlib.machinery import PathFinder

_HTTPS = 443


def install(pairs, authority):
    """`pairs` is the text of LEAKLINE_INTERCEPT, `authority` the path of a certificate to trust for these hosts."""
    hosts = {}
    for pair in filter(None, pairs.split(",")):
        host, _, address = pair.partition("=")
        name, _, port = address.rpartition(":")
        hosts[host] = (name, int(port))
    _lead_lookups(hosts)
    _trust(hosts, authority)
    sys.meta_path.insert(0, _AfterImport("uvloop", lambda module: _lead_uvloop(module, hosts)))


def _led(hosts, host, port):
    """(host, port) to go to instead; the same when it is none of ours."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else host
    if (
        isinstance(name, str)
        and name.rstrip(".").lower() in hosts
        and port in (_HTTPS, str(_HTTPS), "https", b"https")
    ):
        return hosts[name.rstrip(".").lower()]
    return host, port


def _lead_lookups(hosts):
    original = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        return original(*_led(hosts, host, port), *args, **kwargs)

    socket.getaddrinfo = getaddrinfo


def _lead_uvloop(uvloop, hosts):
    loop = uvloop.Loop
    connect, look_up = loop.create_connection, loop.getaddrinfo

    async def create_connection(self, protocol_factory, host=None, port=None, **kwargs):
        there = _led(hosts, host, port)
        if there != (host, port) and kwargs.get("ssl") and kwargs.get("server_hostname") is None:
            kwargs["server_hostname"] = host
        return await connect(self, protocol_factory, *there, **kwargs)

    async def getaddrinfo(self, host, port, **kwargs):
        return await look_up(self, *_led(hosts, host, port), **kwargs)

    loop.create_connection, loop.getaddrinfo = create_connection, getaddrinfo


def _trust(hosts, authority):
    """Have each TLS context trust the authority once it is used for one of the hosts."""
    for name, at in (("wrap_socket", "server_hostname"), ("wrap_bio", "server_hostname")):
        original = getattr(ssl.SSLContext, name)

        def wrap(self, *args, _original=original, _at=at, **kwargs):
            asked = kwargs.get(_at)
            if asked is None:
                asked = next((each for each in args if isinstance(each, str)), None)
            if isinstance(asked, str) and asked.lower() in hosts and self.verify_mode != ssl.CERT_NONE:
                self.load_verify_locations(authority)
            return _original(self, *args, **kwargs)

        setattr(ssl.SSLContext, name, wrap)


class _AfterImport:
    """A finder that finds nothing itself, and has `then` done once a module has been imported."""

    def __init__(self, name, then):
        self._name, self._then = name, then

    def find_spec(self, name, path=None, target=None):
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return spec
        run, then = spec.loader.exec_module, self._then

        def exec_module(module):
            run(module)
            then(module)

        spec.loader.exec_module = exec_module
        return spec


def start():
    """Do it if the environment asks for it."""
    pairs = os.environ.get("LEAKLINE_INTERCEPT")
    if pairs:
        install(pairs, os.environ["LEAKLINE_INTERCEPT_CA"])
