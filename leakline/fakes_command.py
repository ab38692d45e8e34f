"""`leakline fakes up`: both fakes as a service, for development and for load from several machines."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from typing import Any

import click

from leakline.fakes.faults import FaultError, Rule, parse_rule
from leakline.fakes.serving import reduce_garbage_collection
from leakline.harness.data.errors import UsageError
from leakline.harness.drive.telephone import running
from leakline.harness.run.settings import scenario_named
from leakline.scenarios import Scenario

_LOOPBACK = "127.0.0.1"


@click.group("fakes")
def fakes_group() -> None:
    """A fake OpenAI and a fake Twilio to develop against."""


@fakes_group.command("up")
@click.option("--scenario", default="question", show_default=True, metavar="NAME", help="What is said in a call.")
@click.option("--speed", type=float, default=1.0, show_default=True, metavar="X", help="Call seconds per second.")
@click.option("--fault", "faults", multiple=True, metavar="RULE", help="Such as 'status(code=503)@realtime x2'.")
@click.option("--openai-port", type=int, default=0, metavar="N", help="[default: a free one]")
@click.option("--twilio-port", type=int, default=0, metavar="N", help="[default: a free one]")
@click.option(
    "--listen",
    default=_LOOPBACK,
    show_default=True,
    metavar="ADDRESS",
    help="Where they listen; elsewhere than on loopback they ask for a key.",
)
@click.option(
    "--key",
    default="",
    metavar="KEY",
    envvar="LEAKLINE_KEY",
    help="The API key and auth token that they take, and no other.  [default: any on loopback, else a random one]",
)
def fakes_up(
    scenario: str,
    speed: float,
    faults: tuple[str, ...],
    openai_port: int,
    twilio_port: int,
    listen: str,
    key: str,
) -> None:
    """Run both fakes until Ctrl-C, and print what your server needs in its environment."""
    try:
        script, rules = scenario_named(scenario), [parse_rule(text) for text in faults]
    except FaultError as error:
        raise UsageError(str(error)) from None
    if not 0.1 <= speed <= 1000:
        raise UsageError(f"speed: expected a number from 0.1 to 1,000, found {speed!r}")
    try:
        where = {"openai_port": openai_port, "twilio_port": twilio_port, "listen": listen}
        asyncio.run(_serve(script, speed, rules, key or _key_for(listen), where))
    except (OSError, OverflowError) as error:
        raise UsageError(f"port: cannot listen: {error}") from None


def _key_for(listen: str) -> str:
    """None on loopback; elsewhere whoever reaches the port would have it, so a random one."""
    try:
        if ipaddress.ip_address(listen).is_loopback:
            return ""
    except ValueError:
        raise UsageError(f"listen: expected an IP address such as 0.0.0.0, found {listen!r}") from None
    click.echo(
        f"leakline: {listen} can be reached from other machines; what comes without the key is refused", err=True
    )
    return secrets.token_hex(16)


async def _serve(script: Scenario, speed: float, rules: list[Rule], key: str, where: dict[str, Any]) -> None:
    async with running(script, speed=speed, faults=rules, key=key, **where) as fakes:
        reduce_garbage_collection()
        # Who listens on every address is found by the machine's name.
        anywhere = ipaddress.ip_address(where["listen"]).is_unspecified

        def reached(url: str) -> str:
            return url.replace(f"//{where['listen']}:", f"//{socket.gethostname()}:") if anywhere else url

        for name, value in fakes.environment.items():
            click.echo(f"export {name}={reached(value)}")
        ledger = reached(fakes.openai.base_url.removesuffix("/v1") + "/_leakline/ledger")
        click.echo(f"# What they see: {ledger}" + (f" (with -H 'Authorization: Bearer {key}')" if key else ""))
        click.echo("# Have Twilio call your server (Url is your voice webhook):")
        account, token = fakes.twilio.parties.account_sid, fakes.twilio.parties.auth_token
        click.echo(
            f"#   curl -u {account}:{token} {reached(fakes.twilio.url)}/2010-04-01/Accounts/{account}/Calls.json "
            "-d To=+15005550001 -d From=+15005550006 -d Url=http://127.0.0.1:5050/incoming-call"
        )
        click.echo("# Ctrl-C ends them.")
        await asyncio.get_running_loop().create_future()
