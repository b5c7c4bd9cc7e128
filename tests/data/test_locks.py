"""Locks between processes."""

from pathlib import Path

import filelock
import pytest
from lock_holder import holding

from data.locks import locked


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "a.lock"


@pytest.fixture
def holder(path):
    """Another process that holds the lock until its standard input is closed."""
    with holding("data.locks", "locked", path) as process:
        yield process


def test_a_lock_excludes_other_holders_and_leaves_no_file(path):
    with locked(path):
        assert path.exists()
        with pytest.raises(filelock.Timeout), locked(path, blocking=False):
            pytest.fail("locked twice")
        assert path.exists()
    assert not path.exists()


def test_a_lock_is_released_after_an_error(path):
    with pytest.raises(ZeroDivisionError), locked(path):
        raise ZeroDivisionError
    with locked(path, blocking=False):
        pass


def test_a_lock_excludes_another_process_until_that_ends(path, holder):
    with pytest.raises(filelock.Timeout), locked(path, blocking=False):
        pytest.fail("locked twice")
    holder.communicate()
    with locked(path, blocking=False):
        pass


def test_the_lock_of_a_killed_process_is_free(path, holder):
    holder.kill()
    holder.wait()
    assert path.exists()
    with locked(path, blocking=False):
        pass
    assert not path.exists()


def test_a_file_system_without_locks_is_an_error(path, monkeypatch):
    """filelock's substitute for such file systems would outlive a killed process."""

    def without_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", without_locks)
    with pytest.raises(OSError, match="Function not implemented"), locked(path):
        pytest.fail("locked")
