"""Checks of software, computer, card and models, given what other machines have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sdv2_host.checkup import model_files
from sdv2_host.checkup.child import NoAnswerError, ask_child
from sdv2_host.checkup.device import (
    check_engine,
    check_fps,
    driver_findings,
    engine_findings,
    fps_finding,
    read_cards,
)
from sdv2_host.checkup.finding import Finding, Verdict
from sdv2_host.checkup.machine import (
    GIB,
    Memory,
    clock_finding,
    core_findings,
    governors,
    memory_findings,
    power_finding,
)
from sdv2_host.checkup.software import package_findings, python_finding
from sdv2_host.config import Config
from sdv2_host.params import Params

OK, WARNING, TROUBLE = Verdict


def verdicts(findings: Sequence[Finding]) -> list[Verdict]:
    return [finding.verdict for finding in findings]


def only(findings: Sequence[Finding]) -> Finding:
    (finding,) = findings
    return finding


# software

EXTRAS = ["discovery", "dev"]


def test_an_old_python_is_trouble_and_the_needed_one_is_named() -> None:
    assert python_finding("3.11.7", ">=3.11,<3.14").verdict is OK
    old = python_finding("3.9.1", ">=3.11,<3.14")
    assert old.verdict is TROUBLE
    assert ">=3.11,<3.14" in old.seen


def test_packages_are_held_against_what_is_needed() -> None:
    needs = ["numpy>=1.26", "torch<2.16,>=2.11", 'zeroconf>=0.130; extra == "discovery"']
    there = {"numpy": "1.27.0", "torch": "2.13.0+cpu", "zeroconf": "0.154"}
    old = {"numpy": "1.20", "torch": "2.13.0"}

    fine, wrong = (
        list(package_findings(needs, EXTRAS, there.get)),
        list(package_findings(needs, EXTRAS, old.get)),
    )
    empty = next(iter(package_findings(needs, EXTRAS, {}.get)))

    assert verdicts(fine) == [OK, OK]
    assert "zeroconf 0.154" in fine[1].seen
    assert verdicts(wrong) == [TROUBLE, OK]
    assert wrong[0].seen == "numpy is 1.20, needed is >=1.26"
    assert "pip install 'sdv2-host[discovery]'" in wrong[1].seen
    assert empty.seen == "numpy is missing; torch is missing"


def test_packages_of_developers_are_nobodys_trouble() -> None:
    found = list(package_findings(['ruff>=0.8; extra == "dev"'], EXTRAS, {}.get))

    assert [one.subject for one in found] == ["packages"]


# computer


def test_a_busy_processor_and_a_slow_governor_are_told() -> None:
    assert verdicts(list(core_findings(8, 0.05, {"performance"}))) == [OK, OK]
    assert verdicts(list(core_findings(8, 0.9, set()))) == [WARNING]
    assert verdicts(list(core_findings(1, 0.0, set()))) == [WARNING]
    assert verdicts(list(core_findings(8, 0.0, {"powersave"}))) == [OK, WARNING]


def test_governors_are_read_from_each_core(tmp_path: Path) -> None:
    for number, governor in enumerate(("powersave", "performance")):
        folder = tmp_path / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")

    assert governors(tmp_path) == {"powersave", "performance"}
    assert governors(tmp_path / "none") == set()


def test_memory_that_the_engine_wants_is_not_there() -> None:
    assert verdicts(list(memory_findings("tiny", Memory(16 * GIB, 8 * GIB, 0, 0)))) == [OK]
    little = only(list(memory_findings("wan-14b", Memory(16 * GIB, 8 * GIB, 0, 0))))
    assert little.verdict is TROUBLE
    assert "wants 40 GiB" in little.seen


def test_a_computer_that_swaps_is_told() -> None:
    found = list(memory_findings("tiny", Memory(16 * GIB, 8 * GIB, 4 * GIB, 2 * GIB)))

    assert verdicts(found) == [OK, WARNING]


def test_a_laptop_on_battery_is_told() -> None:
    assert power_finding(True, 80).verdict is OK
    assert power_finding(False, 80).todo == "plug it in"


def test_a_clock_that_is_coarse_or_runs_backwards_is_told() -> None:
    assert clock_finding(100).verdict is OK
    assert clock_finding(15_600_000).verdict is WARNING
    assert clock_finding(-5).verdict is TROUBLE


# card and engine

SMI = """NVIDIA GeForce RTX 4090, 550.54.14, 24564, 1024, 41
NVIDIA A2, 550.54.14, 15356, 300, [N/A]
Unable to read a third card
"""


def test_cards_are_read_from_what_the_driver_prints() -> None:
    cards = read_cards(SMI)

    assert [card.name for card in cards] == ["NVIDIA GeForce RTX 4090", "NVIDIA A2"]
    assert (cards[0].driver, cards[0].total_mib, cards[0].celsius) == ("550.54.14", 24564, 41)
    assert cards[1].celsius is None


def test_no_driver_is_a_fact_unless_the_engine_needs_a_card() -> None:
    tiny = only(list(driver_findings(Config(), None, "linux")))
    wan = only(list(driver_findings(Config(engine="wan-1.3b"), None, "linux")))
    on_cpu = only(list(driver_findings(Config(engine="wan-14b", device="cpu"), None, "linux")))
    spare = only(list(driver_findings(Config(device="cuda:0"), None, "linux")))
    on_a_mac = only(list(driver_findings(Config(engine="wan-1.3b"), None, "darwin")))
    asked = Config(engine="wan-1.3b", device="cuda:0")

    assert (tiny.verdict, tiny.seen) == (OK, "none; engine tiny needs none")
    assert spare == tiny, "it does not use --device"
    assert wan.verdict is WARNING
    assert "engine wan-1.3b does not run on an NVIDIA card" in wan.means
    assert on_a_mac.verdict is OK
    assert (on_cpu.verdict, on_cpu.seen) == (OK, "none; --device cpu needs none")
    assert only(list(driver_findings(asked, None, "linux"))).verdict is TROUBLE


def test_a_torch_without_cards_is_told_where_the_engine_needs_one() -> None:
    card = {"kind": "cpu", "name": "CPU", "total": 64 * GIB, "free": 60 * GIB}
    wan = facts(device=card, plan={"total": 9 * GIB, "steps": 4, "advice": ""})

    asked = list(engine_findings(Config(engine="wan-1.3b"), wan))
    chosen = list(engine_findings(Config(engine="wan-1.3b", device="cpu"), wan))

    assert verdicts(asked) == [WARNING, WARNING]
    assert "engine wan-1.3b runs on no graphics card" in asked[0].means
    assert "pytorch.org/get-started" in asked[0].todo
    assert verdicts(chosen) == [OK, WARNING]
    assert verdicts(list(engine_findings(Config(), facts()))) == [OK, OK]


def test_a_plan_that_does_not_fit_on_a_processor_is_met_with_a_card_first() -> None:
    here = {"kind": "cpu", "name": "CPU", "total": 24 * GIB, "free": 22 * GIB}
    large = facts(device=here, plan={"total": 23 * GIB, "steps": 4, "advice": "--max-steps 3 fits"})

    found = list(engine_findings(Config(engine="wan-1.3b"), large))[1]

    assert found.verdict is TROUBLE
    assert "seconds for each picture" in found.means
    assert found.todo.startswith("use a machine with a graphics card, or --engine tiny; ")
    assert found.todo.endswith("--max-steps 3 fits")


def test_a_hot_card_is_told() -> None:
    hot = read_cards(SMI.replace(", 41", ", 91"))

    assert verdicts(list(driver_findings(Config(), hot, "linux"))) == [WARNING, OK]
    assert verdicts(list(driver_findings(Config(), read_cards(SMI), "linux"))) == [OK, OK]


def facts(**more: Any) -> dict[str, Any]:
    plain = {"torch": "2.13", "build": "CPU", "num_cuda": 0, "problem": "", "compiled": None}
    return {**plain, "device": None, "plan": None, **more}


def test_a_compiled_model_is_told_and_one_that_could_be_is_offered() -> None:
    compiled = list(engine_findings(Config(), facts(compiled=True)))
    plain = list(engine_findings(Config(), facts(compiled=False)))

    assert verdicts(compiled) == verdicts(plain) == [OK, OK]
    assert compiled[1].seen.startswith("compiled for 256x256")
    assert "sdv2-host compile --size 256x256" in plain[1].seen


def test_a_plan_that_does_not_fit_says_what_would() -> None:
    config = Config(engine="wan-1.3b", width=512, height=512)
    card = {"kind": "cuda", "name": "RTX 3060", "total": 12 * GIB, "free": 11 * GIB}
    cuda = {"build": "CUDA 13.0", "num_cuda": 1}
    small = facts(device=card, plan={"total": 9 * GIB, "steps": 4, "advice": ""}, **cuda)
    large = facts(
        device=card,
        plan={"total": 15 * GIB, "steps": 4, "advice": "--vae taehv fits (9.0 GiB)"},
        **cuda,
    )
    slow_plan = {"total": GIB, "steps": 4, "advice": ""}
    slow = facts(device={**card, "kind": "cpu"}, plan=slow_plan, **cuda)

    assert verdicts(list(engine_findings(config, small))) == [OK, OK]
    assert verdicts(list(engine_findings(config, slow))) == [OK, WARNING]
    found = list(engine_findings(config, large))[1]
    assert (found.verdict, found.todo) == (TROUBLE, "--vae taehv fits (9.0 GiB)")


def test_what_torch_refuses_is_trouble() -> None:
    found = list(engine_findings(Config(), facts(problem="--device cuda:3: no such card")))

    assert found[1].verdict is TROUBLE
    assert found[1].seen == "--device cuda:3: no such card"


SMALL = Config(width=64, height=64, threads=1, compile="off", overlap="off")


def test_a_process_that_loads_torch_answers_what_is_asked_of_the_engine() -> None:
    torch, engine = check_engine(SMALL)

    assert torch.verdict is engine.verdict is OK
    assert "built for" in torch.seen


def test_the_engine_is_really_run_to_tell_its_speed() -> None:
    found = only(check_fps(SMALL, Params(steps=1), 0.01, 120))

    assert found.seen.startswith("engine tiny at 64x64, 1 step: ")


def test_a_speed_that_cannot_be_measured_is_told() -> None:
    found = only(check_fps(SMALL, Params(), 0.01, 0))

    assert (found.verdict, found.seen) == (WARNING, "could not be measured: no answer within 0 s")


def test_a_process_that_fails_or_hangs_is_an_error_and_not_a_wait() -> None:
    with pytest.raises(NoAnswerError, match=r"No module named .*none"):
        ask_child("sdv2_host.none", {}, 60)
    with pytest.raises(NoAnswerError, match="no answer within 0 s"):
        ask_child("sdv2_host.bench.engine_facts", {}, 0)


def test_the_speed_is_told_for_a_camera() -> None:
    fast = fps_finding(Config(), Params(steps=2), 60.0, 9.0)
    slow = fps_finding(Config(), Params(steps=1), 20.0, 9.0)

    assert fast.verdict is OK
    assert "engine tiny at 256x256, 2 steps" in fast.seen
    assert "30 fps camera is kept up with" in fast.seen
    assert slow.verdict is WARNING
    assert "1 step:" in slow.seen
    assert "fewer steps" not in slow.todo
    assert "fewer steps" in fps_finding(Config(), Params(steps=2), 20.0, 9.0).todo


# models


def test_the_embedded_model_is_the_pinned_one() -> None:
    found = model_files.tiny_finding(model_files.TINY_FILE, model_files.TINY_SHA256)

    assert (found.verdict, found.seen) == (OK, "whole, hash right")


def test_one_changed_byte_of_the_model_is_trouble(tmp_path: Path) -> None:
    copy = tmp_path / "tiny.safetensors"
    content = bytearray(model_files.TINY_FILE.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)

    changed = model_files.tiny_finding(copy, model_files.TINY_SHA256)
    missing = model_files.tiny_finding(tmp_path / "none", model_files.TINY_SHA256)

    assert changed.verdict is missing.verdict is TROUBLE
    assert "expected" in changed.seen


def test_a_missing_model_is_trouble_and_its_text_encoder_a_warning(tmp_path: Path) -> None:
    config = Config(engine="wan-1.3b", models_dir=str(tmp_path))

    found = model_files.check_models(config, "ghibli:0.5", reads_all=False)

    by_subject = {one.subject: one.verdict for one in found}
    assert by_subject["wan-1.3b DiT"] is TROUBLE
    assert by_subject["wan-1.3b text encoder"] is WARNING
    assert "wan-1.3b TAEHV" not in by_subject  # --vae wan does without
    assert by_subject["LoRA ghibli"] is TROUBLE
