"""Leads connections to intercepted hosts to the fakes: look-ups answer with their addresses, TLS trusts them.

A look-up answers with a loopback address that stands for the host, and a connection to that goes to the fake's port:
some libraries (anyio) keep nothing of a look-up but the address. Covers what resolves by `socket.getaddrinfo`
(asyncio, httpx, aiohttp, requests, websockets) and uvloop, which resolves and connects in C.
"""

import os
import socket
import ssl
import sys
from importlib.machinery import PathFinder

_HTTPS = 443
_STANDS_FOR = "127.77.7.{}"


class _Hosts:
    """Which addresses stand for which hosts, and where these really are."""

    def __init__(self, pairs):
        self._names, self._fakes = {}, {}
        for number, pair in enumerate(filter(None, pairs.split(",")), 1):
            host, _, address = pair.partition("=")
            name, _, port = address.rpartition(":")
            self._names[host] = _STANDS_FOR.format(number)
            self._fakes[self._names[host]] = (name, int(port))

    def address_of(self, host):
        """What stands for a host; the host itself when it is none of ours."""
        name = host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else host
        return self._names.get(name.rstrip(".").lower(), host) if isinstance(name, str) else host

    def fake(self, address, port):
        """Where a connection to `address` and `port` really goes."""
        return self._fakes.get(address, (address, port)) if str(port) in (str(_HTTPS), "https") else (address, port)


def install(pairs, authority):
    """`pairs` is the text of LEAKLINE_INTERCEPT, `authority` the path of a certificate to trust for these hosts."""
    hosts = _Hosts(pairs)
    _lead_sockets(hosts)
    _trust(hosts, authority)
    sys.meta_path.insert(0, _AfterImport("uvloop", lambda module: _lead_uvloop(module, hosts)))


def _lead_sockets(hosts):
    look_up = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        return look_up(hosts.address_of(host), port, *args, **kwargs)

    socket.getaddrinfo = getaddrinfo
    for name in ("connect", "connect_ex"):
        original = getattr(socket.socket, name)

        def connect(self, address, _original=original):
            if type(address) is tuple and len(address) == 2:
                address = hosts.fake(*address)
            return _original(self, address)

        setattr(socket.socket, name, connect)


def _lead_uvloop(uvloop, hosts):
    loop = uvloop.Loop
    connect, look_up = loop.create_connection, loop.getaddrinfo

    async def create_connection(self, protocol_factory, host=None, port=None, **kwargs):
        there = hosts.fake(hosts.address_of(host), port)
        if there != (host, port) and kwargs.get("ssl") and kwargs.get("server_hostname") is None:
            kwargs["server_hostname"] = host
        return await connect(self, protocol_factory, *there, **kwargs)

    async def getaddrinfo(self, host, port, **kwargs):
        return await look_up(self, hosts.address_of(host), port, **kwargs)

    loop.create_connection, loop.getaddrinfo = create_connection, getaddrinfo


def _trust(hosts, authority):
    """Have each TLS context trust the authority once it is used for one of the hosts."""
    for name in ("wrap_socket", "wrap_bio"):
        original = getattr(ssl.SSLContext, name)

        def wrap(self, *args, _original=original, **kwargs):
            asked = [kwargs.get("server_hostname"), *args]
            if self.verify_mode != ssl.CERT_NONE and any(hosts.address_of(each) is not each for each in asked):
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
