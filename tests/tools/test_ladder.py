"""The ladder: what it trains, its table, and what it says of mistakes; its parts have their own tests."""

import json

import pytest
from absl import flags
from absl.testing import flagsaver

from tools import ladder


@pytest.fixture
def given(tmp_path):
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver((ladder.FOLDER, "photos"), (ladder.OUT, str(tmp_path)), (ladder.PROPOSALS, "p.npz")):
        yield tmp_path


def test_a_row_for_each_config_and_none_trains_twice(given, monkeypatch, capsys):
    asked = []

    def popen(command, **_):
        asked.append(command[3:])
        return type("Process", (), {"pid": 1})

    usage = type("Usage", (), {"ru_maxrss": 2_000_000})
    monkeypatch.setattr(ladder.subprocess, "Popen", popen)
    monkeypatch.setattr(ladder.os, "wait4", lambda *_: (1, 0, usage))
    monkeypatch.setattr(ladder, "_scored", lambda run: (0.4, 0.7512, 1.25) if "rcnn_r" in run.name else (0.3, 0.5, 0.1))
    for _ in range(2):
        ladder.main(["ladder", "rcnn/raccoon", "retinanet/mobilenetv2_fpn_raccoon"])
    assert [one[0] for one in asked] == ["train", "train"]
    assert "--config.data.proposals=p.npz" in asked[0] and "--config.data.proposals=p.npz" not in asked[1]
    assert "--config.data.folder=photos" in asked[1]
    head, _, first, second = (given / "ladder.md").read_text().splitlines()
    assert head == "| config | AP | AP50 | seconds a photo | minutes | GB |"
    assert first == "| rcnn/raccoon | 0.400 | 0.751 | 1.250 | 0.0 | 2.05 |" and second.endswith(
        "| 0.300 | 0.500 | 0.100 | 0.0 | 2.05 |"
    )
    assert capsys.readouterr().out.splitlines()[-1] == second


def test_a_failed_training_says_its_last_line(given, monkeypatch):
    def popen(command, stdout, **_):
        stdout.write("step 1\nerror: photos: no such folder\n")
        return type("Process", (), {"pid": 1})

    monkeypatch.setattr(ladder.subprocess, "Popen", popen)
    monkeypatch.setattr(ladder.os, "wait4", lambda *_: (1, 256, None))
    with pytest.raises(ValueError, match="the training failed; the end of .*ladder.log: error: photos: no such folder"):
        ladder.main(["ladder", "rcnn/raccoon"])
    assert not (given / "rcnn_raccoon" / ladder.MEASURED).exists()


def test_a_table_of_what_was_measured(given, monkeypatch):
    (given / "rcnn_raccoon").mkdir()
    (given / "rcnn_raccoon" / ladder.MEASURED).write_text(json.dumps([12.3, 1.5]))
    monkeypatch.setattr(ladder, "_scored", lambda run: (0.4, 0.7, 1.0))
    ladder.main(["ladder", "rcnn/raccoon"])
    assert (given / "ladder.md").read_text().splitlines()[
        -1
    ] == "| rcnn/raccoon | 0.400 | 0.700 | 1.000 | 12.3 | 1.50 |"


def test_mistakes(given):
    with pytest.raises(ValueError, match="name one or more configs, such as rcnn/raccoon"):
        ladder.main(["ladder"])
    with pytest.raises(ValueError, match="rcnn/racoon.py: there is no such config"):
        ladder.main(["ladder", "rcnn/racoon"])
