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
        _shown("Status", "Status", "What it does, or what to do. Guide: When something is wrong."),
        _shown(
            "Lasterror",
            "Last error",
            "What the host refused last, and why. Guide: When something is wrong.",
        ),
        _toggle(
            "Active", "Active", True, "Off: no host is looked for, nothing is sent. Guide: Play it."
        ),
        Row(
            "Host",
            Style.STR_MENU,
            "Host",
            "Name of the host, as in sdv2-host run --name; the menu holds those that run. "
            "Guide: Two components, two hosts.",
            Config().name,
            suggestions="hosts",
            allowed="1 to 44 of a-z, 0-9, '-' and '_'",
        ),
        _toggle(
            "Sendinput",
            "Send input",
            True,
            "The TOP at the input goes to the host. Off: another program feeds it. Guide: Play it.",
        ),
        _menu(
            "Inputalpha",
            "Input alpha",
            ("premultiplied", "straight", "opaque"),
            "What the input's alpha means; TouchDesigner's own operators premultiply. "
            "Guide: Pictures by numpy or CUDA.",
        ),
        _toggle(
            "Bringlook",
            "Bring look",
            False,
            "On: a host that is met gets the values saved here. Off: these pages take over the "
            "host's, as a desk that joins a running show. Guide: Play it.",
        ),
        _menu(
            "Transfer",
            "Transfer",
            ("numpy", "auto", "cuda"),
            "How pictures leave and enter the graphics card. numpy = on every machine; auto = by "
            "CUDA where TouchDesigner offers it, for large pictures. CUDA was not tried in "
            "TouchDesigner yet: an error of it takes TouchDesigner's own CUDA along until a "
            "restart, so try it before a show. Guide: Pictures by numpy or CUDA.",
        ),
        _toggle(
            "Lockstep",
            "Lock-step",
            False,
            "For renders out of real time: every frame is styled, TouchDesigner waits for it, and "
            "the picture shown is exactly that of the frame Lock-step delay frames ago. "
            "Guide: Render, frame by frame.",
        ),
        Row(
            "Lockstepdelay",
            Style.INT,
            "Lock-step delay",
            "By how many frames a picture is later than its input in lock-step. "
            "Guide: Render, frame by frame.",
            0,
            is_read_only=True,
        ),
        Row(
            "Locksteptimeout",
            Style.FLOAT,
            "Lock-step timeout (s)",
            "How long a frame of a render is waited for. Guide: Render, frame by frame.",
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
            "nothing that you did not ask for; the component's own tile tells. Guide: Play it.",
        ),
    ),
    Page.HOST: (
        _pulse(
            "Starthost",
            "Start host",
            "Starts sdv2-host as a process of its own. Guide: The host's process.",
        ),
        _pulse(
            "Stophost",
            "Stop host",
            "Ends the host that was started here, no other. Guide: The host's process.",
        ),
        _pulse(
            "Restarthost",
            "Restart host",
            "Ends and starts it; the output holds its picture. Guide: The host's process.",
        ),
        _text(
            "Command",
            "Command",
            "Where sdv2-host is: the program, a Python that has it, or the folder with .venv; "
            "empty = found on PATH. Guide: The host's process.",
        ),
        _menu(
            "Engine",
            "Engine",
            tuple(ENGINES),
            "What makes the picture: tiny runs everywhere, wan-... need their models and a "
            "graphics card, passthrough shows the input. Guide: The host's process.",
        ),
        _text(
            "Enginesize",
            "Engine size",
            "WIDTHxHEIGHT such as 512x512, multiples of 16; empty = the engine's usual. "
            "Guide: The host's process.",
        ),
        _text(
            "Arguments",
            "More arguments",
            "Of sdv2-host run, as on the command line, such as --port 9401. "
            "Guide: The host's process.",
        ),
        _toggle(
            "Autostart",
            "Start with project",
            False,
            "The host is started when the project is opened. Guide: The host's process.",
        ),
        _toggle(
            "Autostop",
            "Stop with project",
            True,
            "The host that was started here ends with the project. Guide: The host's process.",
        ),
        _shown(
            "Hostprocess",
            "Host process",
            "How the one does that was started here; the DAT log inside has its words. "
            "Guide: The host's process.",
        ),
        _pulse(
            "Openpage",
            "Open control page",
            "The host's own page, in the browser. Guide: The host's process.",
        ),
    ),
    Page.ABOUT: (
        _shown("Version", "Version", "Of this component. Guide: When something is wrong."),
        _shown("Hostversion", "Host version", "Of its host. Guide: When something is wrong."),
        Row(
            "Callbackdat",
            Style.DAT,
            "Callbacks DAT",
            "A DAT with Python of yours that is called on changes. Guide: Callbacks.",
            "./callbacks",
        ),
        _pulse(
            "Help", "Open the guide", "README.md of this component, a DAT inside. Guide: Install."
        ),
    ),
}
