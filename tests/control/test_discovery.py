"""Being found on the network; here on loopback, which carries multicast as well."""

from __future__ import annotations

import asyncio
import logging
import socket
import uuid

import pytest

from sdv2_host.config import Config
from sdv2_host.control.access import is_loopback
from sdv2_host.control.discovery import (
    MAX_LABEL_BYTES,
    SERVICES,
    Advertisement,
    Presence,
    presence_of,
)

zeroconf = pytest.importorskip("zeroconf", reason="needs the extra discovery")
asyncio_zeroconf = pytest.importorskip("zeroconf.asyncio", reason="needs the extra discovery")

LOOPBACK = "127.0.0.1"


def presence() -> Presence:
    return Presence(f"t-{uuid.uuid4().hex[:8]} on box", "box", (LOOPBACK,), 9400)


def test_on_loopback_nothing_is_told() -> None:
    for listen in ("127.0.0.1", "::1", "localhost"):
        assert presence_of(Config(listen=listen), 9400) is None


def test_on_the_network_the_reachable_addresses_are_told() -> None:
    one = presence_of(Config(name="stage1", listen="192.168.7.7"), 9400)

    assert one is not None
    assert (one.addresses, one.port) == (("192.168.7.7",), 9400)
    assert one.name.startswith("stage1 on ")
    every = presence_of(Config(listen="0.0.0.0"), 9400)
    assert every is None or LOOPBACK not in every.addresses


def test_of_a_name_to_listen_on_the_address_is_told() -> None:
    machine = socket.gethostname()

    found = presence_of(Config(listen=machine), 9400)

    # On a machine whose name is its own alone, nobody else can connect.
    assert (found.addresses if found else ()) == tuple(
        one for one in [socket.gethostbyname(machine)] if not is_loopback(one)
    )


def test_a_long_name_is_cut_to_what_dns_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "ü" * 60)

    found = presence_of(Config(name="a" * 44, listen="10.0.0.1"), 9400)

    assert found is not None
    assert len(found.name.encode()) <= MAX_LABEL_BYTES


def test_all_three_services_are_found_and_gone_after_the_close() -> None:
    told = presence()

    async def find(browser: object, service: str, timeout_ms: int) -> object:
        info = asyncio_zeroconf.AsyncServiceInfo(service, f"{told.name}.{service}")
        found = await info.async_request(browser.zeroconf, timeout_ms)  # type: ignore[attr-defined]
        return info if found else None

    async def run() -> None:
        advertisement = Advertisement(told)
        advertisement.start()
        assert await advertisement.registered()
        async with asyncio_zeroconf.AsyncZeroconf(interfaces=[LOOPBACK]) as browser:
            for service in SERVICES:
                info = await find(browser, service, 10_000)
                assert info is not None
                assert (info.port, info.parsed_addresses()) == (9400, [LOOPBACK])  # type: ignore[attr-defined]
        await advertisement.close()
        async with asyncio_zeroconf.AsyncZeroconf(interfaces=[LOOPBACK]) as browser:
            assert await find(browser, SERVICES[0], 500) is None

    asyncio.run(run())


def test_without_the_extra_a_start_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> bool:
        advertisement = Advertisement(presence(), load=lambda: None)
        advertisement.start()
        is_told = await advertisement.registered()
        await advertisement.close()
        return is_told

    with caplog.at_level(logging.INFO):
        assert asyncio.run(run()) is False
    assert "sdv2-host[discovery]" in caplog.text


def test_a_network_that_cannot_be_used_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> bool:
        advertisement = Advertisement(presence(), interfaces=["203.0.113.9"])  # not ours
        advertisement.start()
        is_told = await advertisement.registered()
        await advertisement.close()
        return is_told

    assert asyncio.run(run()) is False
    assert "not advertised" in caplog.text


def test_a_close_before_it_is_known_leaves_nothing() -> None:
    async def run() -> set[object]:
        before = asyncio.all_tasks()
        advertisement = Advertisement(presence())
        advertisement.start()
        await asyncio.sleep(0)
        await advertisement.close()
        await asyncio.sleep(0)
        return {task for task in asyncio.all_tasks() - before if not task.done()}

    assert asyncio.run(run()) == set()
