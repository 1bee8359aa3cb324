"""`flotilla pipeline`, which needs no fleet."""

import json
from pathlib import Path

import pytest

from flotilla.cli.command import main

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "pipelines"


def test_check_shows_the_class_and_the_zones_of_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A line each, and nothing is wrong.
    """
    assert 0 == main(["pipeline", "check", str(EXAMPLES / "translate-pages.toml")])
    rows = [line.split("\t")[:4] for line in capsys.readouterr().out.splitlines()]
    assert ["redact", "redact", "restricted", "local"] in rows
    assert ["sides", "translate", "internal", "local, cloud"] in rows


def test_check_names_every_fault_and_ends_with_the_code_of_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Of a file that is none, and of one that does not fit what is there; for programs too.
    """
    file = tmp_path / "bad.toml"
    cases = (('capability = "x"\nwhen = "1 +"', "steps.a.when", 6), ('capability = "x"', "steps.a.capability", 5))
    for steps, key, line in cases:
        file.write_text(f'name = "bad"\n[input]\ntype = "object"\n[steps.a]\n{steps}\n[output]\nx = "${{steps.a}}"\n')
        assert 2 == main(["pipeline", "check", str(file)])
        assert f"{file}:{line}: {key}: " in capsys.readouterr().err
        assert 2 == main(["pipeline", "check", str(file), "--json"])
        assert json.loads(capsys.readouterr().out)["faults"][0].startswith(key)


def test_a_policy_with_routes_in_the_cloud_alone_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Only where the pool is named as one of the cloud.
    """
    policy = tmp_path / "policy.toml"
    policy.write_text('[capabilities.summarize]\nroutes = [{ pool = "far" }]\n')
    command = ["pipeline", "check", str(EXAMPLES / "support-inbox.toml"), "--policy", str(policy)]
    assert 0 == main(command)
    assert 2 == main([*command, "--cloud-pool", "far"])
    assert "steps.summary: its data is restricted" in capsys.readouterr().err
    assert 0 == main([*command, "--cloud-pool", "far", "--data-class", "internal"])


def test_list_and_show_read_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A name that is not there is told which was meant.
    """
    assert 0 == main(["pipeline", "list", "--capabilities", str(EXAMPLES)])
    assert ["process-document", "support-inbox", "translate-pages"] == [
        line.partition("\t")[0] for line in capsys.readouterr().out.splitlines()
    ]
    assert 0 == main(["pipeline", "show", "support-inbox", "--capabilities", str(EXAMPLES), "--mermaid"])
    assert "flowchart TD" in capsys.readouterr().out
    assert 2 == main(["pipeline", "show", "suport-inbox", "--capabilities", str(EXAMPLES)])
    assert "did you mean support-inbox?" in capsys.readouterr().err


def test_a_folder_of_something_else_is_told_what_to_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Such as a project's own, whose TOML is no capability.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\n')

    assert 2 == main(["pipeline", "list"])
    assert "in a folder of their own: name it" in capsys.readouterr().err


def test_each_command_takes_a_folder_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    In the same place, and with JSON for programs.
    """
    file = EXAMPLES / "support-inbox.toml"

    assert 0 == main(["pipeline", "list", str(EXAMPLES)])
    assert 3 == len(capsys.readouterr().out.splitlines())
    assert 0 == main(["pipeline", "list", str(file), "--json"])
    assert "support-inbox" == json.loads(capsys.readouterr().out)["name"]

    assert 0 == main(["pipeline", "check", str(EXAMPLES)])
    assert str(file) in capsys.readouterr().out.splitlines()
    assert 0 == main(["pipeline", "check", str(EXAMPLES), "--json"])
    checked = [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()]
    assert ["process-document", "support-inbox", "translate-pages"] == checked

    assert 0 == main(["pipeline", "show", str(file), "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert "support-inbox" == shown["name"]
    assert "restricted" in {step["data_class"] for step in shown["steps"]}

    assert 2 == main(["pipeline", "check", str(tmp_path)])
    assert "there is no pipeline in this folder" in capsys.readouterr().err
    assert 2 == main(["pipeline", "show", str(tmp_path / "none.toml")])
    assert "cannot be read" in capsys.readouterr().err


def test_a_folder_with_one_bad_pipeline_is_not_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The others are checked all the same.
    """
    good = EXAMPLES / "translate-pages.toml"
    (tmp_path / "a.toml").write_text('name = "bad"\n[steps.a]\n')
    (tmp_path / "b.toml").write_text(good.read_text())

    assert 2 == main(["pipeline", "check", str(tmp_path), "--json"])

    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["faults"]
    assert ("translate-pages", []) == (second["name"], second["faults"])
