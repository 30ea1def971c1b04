"""The rows of the TouchDesigner component's pages that are its own, not of the host's tables."""

from __future__ import annotations

from sdv2_host.config import ENGINES, Config
from sdv2_host.surfaces.touch_row import Page, Row, Style


def _toggle(par: str, label: str, default: bool, help_: str) -> Row:
    return Row(par, Style.TOGGLE, label, help_, default, allowed="on or off")


def _text(par: str, label: str, help_: str) -> Row:
    return Row(par, Style.STR, label, help_, "")


def _shown(par: str, label: str, help_: str) -> Row:
    return Row(par, Style.STR, label, help_, "", is_read_only=True)


def _menu(par: str, label: str, choices: tuple[str, ...], help_: str) -> Row:
    return Row(par, Style.MENU, label, help_, choices[0], choices=choices, allowed=_or(choices))


def _pulse(par: str, label: str, help_: str) -> Row:
    return Row(par, Style.PULSE, label, help_)


def _or(choices: tuple[str, ...]) -> str:
    return " or ".join(choices)


OWN_ROWS: dict[Page, tuple[Row, ...]] = {
    Page.STREAM: (
        _shown("Status", "Status", "What it does, or what to do."),
        _toggle("Active", "Active", True, "Off: no host is looked for, nothing is sent."),
        Row(
            "Host",
            Style.STR_MENU,
            "Host",
            "Name of the host, as in sdv2-host run --name; the menu holds those that run.",
            Config().name,
            suggestions="hosts",
            allowed="1 to 44 of a-z, 0-9, '-' and '_'",
        ),
        _toggle(
            "Sendinput",
            "Send input",
            True,
            "The TOP at the input goes to the host. Off: another program feeds it.",
        ),
        _menu(
            "Inputalpha",
            "Input alpha",
            ("premultiplied", "straight", "opaque"),
            "What the input's alpha means; TouchDesigner's own operators premultiply.",
        ),
        _toggle(
            "Bringlook",
            "Bring look",
            False,
            "On: a host that is met gets the values saved here. Off: these pages take over the "
            "host's, as a desk that joins a running show.",
        ),
        _menu(
            "Transfer",
            "Transfer",
            ("numpy", "auto", "cuda"),
            "How pictures leave and enter the graphics card. numpy = on every machine; auto = by "
            "CUDA where TouchDesigner offers it, for large pictures. CUDA was not tried in "
            "TouchDesigner yet: an error of it takes TouchDesigner's own CUDA along until a "
            "restart, so try it before a show.",
        ),
        _toggle(
            "Lockstep",
            "Lock-step",
            False,
            "For renders out of real time: every frame is styled, TouchDesigner waits for it, and "
            "the picture shown is exactly that of the frame Lock-step delay frames ago.",
        ),
        Row(
            "Lockstepdelay",
            Style.INT,
            "Lock-step delay",
            "By how many frames a picture is later than its input in lock-step.",
            0,
            is_read_only=True,
        ),
        Row(
            "Locksteptimeout",
            Style.FLOAT,
            "Lock-step timeout (s)",
            "How long a frame of a render is waited for.",
            20.0,
            1.0,
            600.0,
            60.0,
            allowed="1..600",
        ),
    ),
    Page.OUTPUT: (
        _toggle(
            "Card",
            "Status card",
            False,
            "While there is no picture yet, the output shows the status as text. Off: it shows "
            "nothing that you did not ask for; the component's own tile tells.",
        ),
    ),
    Page.HOST: (
        _pulse("Starthost", "Start host", "Starts sdv2-host as a process of its own."),
        _pulse("Stophost", "Stop host", "Ends the host that was started here."),
        _pulse("Restarthost", "Restart host", "Ends and starts it; the output holds its picture."),
        _text(
            "Command",
            "Command",
            "The program sdv2-host, or the folder it was installed in; empty = found on PATH.",
        ),
        _menu("Engine", "Engine", tuple(ENGINES), "What makes the picture."),
        _text("Enginesize", "Engine size", "WIDTHxHEIGHT, multiples of 16; empty = usual."),
        _text("Arguments", "More arguments", "Of sdv2-host run, as on the command line."),
        _toggle("Autostart", "Start with project", False, "Starts the host with the project."),
        _toggle("Autostop", "Stop with project", True, "The host that was started here ends."),
        _shown("Hostprocess", "Host process", "How it does."),
        _pulse("Openpage", "Open control page", "The host's page, in the browser."),
    ),
    Page.ABOUT: (
        _shown("Version", "Version", "Of this component."),
        _shown("Hostversion", "Host version", "Of the host it is with."),
        Row(
            "Callbackdat",
            Style.DAT,
            "Callbacks DAT",
            "Python that is called on changes: see the DAT callbacks inside.",
            "./callbacks",
        ),
        _pulse("Help", "Help", "The documentation, in the browser."),
    ),
}
