"""What the machine's state is read from: text of the commands, as macOS prints it; files, as Linux keeps them."""

from __future__ import annotations

import pytest

from harness.bench import condition as module
from harness.bench.condition import condition, marks
from harness.records.machine import Condition
from harness.system.command import output

BATTERY = (
    "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t87%; discharging; 5:11 remaining present: true\n"
)
MAINS = "Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t100%; charged; 0:00 remaining present: true\n"
SETTINGS = "System-wide power settings:\nCurrently in use:\n lowpowermode         {}\n sleep                1\n"
THERMAL = "com.apple.system.thermalpressurelevel {}\n"


def mac(battery=MAINS, low=0, thermal=0, translated="0\n"):
    """Answer as a Mac's commands do."""
    answers = {
        ("pmset", "-g", "batt"): battery,
        ("pmset", "-g"): SETTINGS.format(low),
        ("sysctl", "-n", "sysctl.proc_translated"): translated,
        ("notifyutil", "-g", module.THERMAL_KEY): THERMAL.format(thermal),
    }
    return condition(system="Darwin", command=lambda *words: answers[words])


def test_a_mac_at_rest_has_no_mark():
    found = mac()
    assert (found.power, found.low_power_mode, found.thermal, found.translated) == ("AC", False, "nominal", False)
    assert marks(found) == ()


@pytest.mark.parametrize(
    ("changed", "mark"),
    [
        ({"battery": BATTERY}, "on battery"),
        ({"low": 1}, "low power mode"),
        ({"thermal": 2}, "throttled"),
        ({"thermal": 9}, "throttled"),
        ({"translated": "1\n"}, "under Rosetta"),
    ],
)
def test_each_thing_that_spoils_a_measurement_is_marked(changed, mark):
    assert marks(mac(), mac(**changed)) == (mark,)
    assert mark in module.STRICT


@pytest.mark.parametrize(("level", "name"), list(enumerate(module.THERMAL_LEVELS)))
def test_thermal_pressure_has_macos_names(level, name):
    assert mac(thermal=level).thermal == name


def test_what_a_command_does_not_say_is_not_known():
    found = condition(system="Darwin", command=lambda *_: "")
    assert (found.power, found.low_power_mode, found.thermal, found.translated) == ("", None, "", None)
    assert marks(found) == ()


def test_a_loaded_machine_is_marked_by_its_load_before_the_measurement_alone():
    idle, busy = Condition(load=0.1), Condition(load=3.0)
    assert marks(busy, idle, cores=2) == ("busy machine",)
    assert marks(idle, busy, cores=2) == ()
    assert "busy machine" not in module.STRICT


@pytest.mark.parametrize(
    ("files", "power"),
    [
        ({"BAT0/type": "Battery", "BAT0/status": "Discharging", "AC/type": "Mains", "AC/online": "0"}, "battery"),
        ({"BAT0/type": "Battery", "BAT0/status": "Charging", "AC/type": "Mains", "AC/online": "1"}, "AC"),
        ({}, ""),
    ],
)
def test_linux_power_comes_from_its_supplies(tmp_path, monkeypatch, files, power):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    monkeypatch.setattr(module, "POWER_SUPPLIES", tmp_path)
    assert condition(system="Linux").power == power


def test_a_command_that_is_not_there_says_nothing():
    assert output("no-such-command-anywhere") is None
