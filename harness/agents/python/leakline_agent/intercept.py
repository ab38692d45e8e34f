"""Redirects connections to intercepted hosts to the fakes, and has TLS trust these.

Resolving an intercepted host gives a loopback address that is reserved for it, and a connection to that address goes
to the fake's port: some libraries (anyio) keep only the address, not the name. Covers libraries that resolve with
`socket.getaddrinfo` (asyncio, httpx, aiohttp, requests, websockets), and uvloop, which resolves and connects in C.
"""

import os
import socket
import ssl
import sys
from importlib.machinery import PathFinder

_HTTPS = 443
_RESERVED = "127.77.7.{}"
"""The loopback address of the intercepted host of this number, from 1; in 127.0.0.0/8, and unlikely to be used."""


class _Hosts:
    """The intercepted hosts: the address reserved for each, and its fake's address."""

    def __init__(self, pairs):
        self._names, self._fakes = {}, {}
        for number, pair in enumerate(filter(None, pairs.split(",")), 1):
            host, _, address = pair.partition("=")
            name, _, port = address.rpartition(":")
            self._names[host] = _RESERVED.format(number)
            self._fakes[self._names[host]] = (name, int(port))

    def address_of(self, host):
        """The address reserved for an intercepted host; any other host is returned as it is."""
        name = host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else host
        return self._names.get(name.rstrip(".").lower(), host) if isinstance(name, str) else host

    def fake(self, address, port):
        """(address, port) to connect to in place of these: the fake's for a reserved address and port 443."""
        return self._fakes.get(address, (address, port)) if str(port) in (str(_HTTPS), "https") else (address, port)


def install(pairs, authority):
    """Redirect from now on.

    `pairs` is the value of LEAKLINE_INTERCEPT (`host=address:port`, separated by commas), `authority` the path of the
    CA certificate to trust for these hosts.
    """
    hosts = _Hosts(pairs)
    _redirect_sockets(hosts)
    _trust(hosts, authority)
    sys.meta_path.insert(0, _AfterImport("uvloop", lambda module: _redirect_uvloop(module, hosts)))


def _redirect_sockets(hosts):
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


def _redirect_uvloop(uvloop, hosts):
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
    """Have a TLS context trust the authority as soon as it is used for one of the hosts."""
    for name in ("wrap_socket", "wrap_bio"):
        original = getattr(ssl.SSLContext, name)

        def wrap(self, *args, _original=original, **kwargs):
            asked = [kwargs.get("server_hostname"), *args]
            if self.verify_mode != ssl.CERT_NONE and any(hosts.address_of(each) is not each for each in asked):
                self.load_verify_locations(authority)
            return _original(self, *args, **kwargs)

        setattr(ssl.SSLContext, name, wrap)


class _AfterImport:
    """An import hook that calls `then(module)` once the module `name` has been imported."""

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
    """Redirect if the environment has LEAKLINE_INTERCEPT. Raises KeyError without LEAKLINE_INTERCEPT_CA."""
    pairs = os.environ.get("LEAKLINE_INTERCEPT")
    if pairs:
        install(pairs, os.environ["LEAKLINE_INTERCEPT_CA"])
