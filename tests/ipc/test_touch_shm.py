"""Laws of the sender and the receiver of TouchDesigner's Shared Mem, against TOPs by the book.

On Windows with its own named objects; elsewhere with named files that behave alike.
"""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.errors import AlreadyRunningError
from sdv2_host.ipc import touch_sender
from sdv2_host.ipc.touch_layout import data_name, info_names
from sdv2_host.ipc.touch_objects import Grip, NamedLock, NamedObjects, windows_objects
from sdv2_host.ipc.touch_receiver import Look, TouchReceiver
from sdv2_host.ipc.touch_sender import TouchSender
from tests.ipc.touch_tops import InTop, OutTop

if sys.platform != "win32":
    from tests.ipc.touch_files import FileLock, FileObjects


@pytest.fixture
def objects(tmp_path: Path) -> NamedObjects:
    return windows_objects() if sys.platform == "win32" else FileObjects(tmp_path)


@pytest.fixture
def name() -> str:
    return f"t{uuid.uuid4().hex[:12]}-out"


def picture(number: int, width: int = 24, height: int = 16) -> NDArray[np.uint8]:
    """[H, W, 4], different for each number."""
    return np.random.default_rng(number).integers(0, 256, (height, width, 4), dtype=np.uint8)


@contextmanager
def held_elsewhere(objects: NamedObjects, lock_name: str) -> Iterator[None]:
    """While it runs another thread has the lock: TouchDesigner's side of it."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        lock = objects.lock(lock_name)
        assert lock.take(1000) is not Grip.BUSY
        taken.set()
        done.wait()
        lock.release()
        lock.close()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


def in_thread(body: Callable[[], None]) -> list[BaseException]:
    """Runs it where Windows' locks of this thread do not count; what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            body()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


@pytest.mark.parametrize("doubled", [True, False])
def test_a_top_shows_what_was_sent_and_the_newest_of_it(
    objects: NamedObjects, name: str, doubled: bool
) -> None:
    top = InTop(objects, name, doubled)
    with TouchSender(objects, name) as sender:
        assert not sender.was_opened
        for number in range(3):
            assert sender.show(picture(number))
        shown = top.cook()

        assert shown is not None
        assert np.array_equal(shown, picture(2))
        assert sender.was_opened
    top.close()


def test_a_top_may_come_first(objects: NamedObjects, name: str) -> None:
    top = InTop(objects, name)
    assert top.cook() is None

    with TouchSender(objects, name) as sender:
        assert top.cook() is None  # no picture yet
        sender.show(picture(1))

        assert np.array_equal(top.cook(), picture(1))
    assert top.cook() is None


def test_another_size_changes_in_place_up_to_the_room(objects: NamedObjects, name: str) -> None:
    top = InTop(objects, name)
    with TouchSender(objects, name) as sender:
        for number, (width, height) in enumerate([(24, 16), (640, 360), (16, 16), (2048, 2048)]):
            assert sender.show(picture(number, width, height))
            assert np.array_equal(top.cook(), picture(number, width, height))

        found = objects.find_memory(data_name(name), False)
        assert found is not None
        found.close()
    top.close()


def test_a_size_beyond_the_room_is_found_under_another_name(
    objects: NamedObjects, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(touch_sender, "ROOM_BYTES", 4096)
    top = InTop(objects, name)
    with TouchSender(objects, name) as sender:
        for number, width in enumerate([16, 200, 400, 100, 800]):
            assert sender.show(picture(number, width))
            assert np.array_equal(top.cook(), picture(number, width))
    top.close()


def test_while_a_top_reads_the_sender_does_not_wait_for_it(
    objects: NamedObjects, name: str
) -> None:
    with TouchSender(objects, name) as sender:
        sender.show(picture(1))
        with held_elsewhere(objects, f"{data_name(name)}Mutex"):
            assert not sender.show(picture(2))

        assert sender.show(picture(3))


def test_a_top_that_looks_at_the_info_delays_a_resize_and_prevents_none(
    objects: NamedObjects, name: str
) -> None:
    top = InTop(objects, name)
    with TouchSender(objects, name) as sender:
        with held_elsewhere(objects, f"{info_names(name)[0]}Mutex"):
            assert not sender.show(picture(1))

        assert sender.show(picture(2))
        assert np.array_equal(top.cook(), picture(2))
    top.close()


def test_the_next_sender_goes_on_where_one_died(
    objects: NamedObjects, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(touch_sender, "ROOM_BYTES", 4096)
    top = InTop(objects, name)
    dead = TouchSender(objects, name)
    dead.show(picture(1))
    top.cook()
    dead.show(picture(2, 500))
    top.cook()
    forget(dead)

    with TouchSender(objects, name) as sender:
        sender.show(picture(3, 500))
        assert np.array_equal(top.cook(), picture(3, 500))
        sender.show(picture(4, 900))
        assert np.array_equal(top.cook(), picture(4, 900))
    top.close()


def forget(sender: TouchSender) -> None:
    """All is closed and nobody is told, as when its process is killed."""
    for info in sender._infos:
        info._memory.close()
        info._lock.close()
    assert sender._memory is not None
    sender._memory.close()
    sender._lock.close()
    sender._claim.release()
    sender._claim.close()


def test_one_name_has_one_sender(
    objects: NamedObjects, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(touch_sender, "CLAIM_MS", 10)
    with TouchSender(objects, name):
        raised = in_thread(lambda: TouchSender(objects, name).close())

    assert [type(error) for error in raised] == [AlreadyRunningError]
    assert f"Shared Mem Name {name}" in str(raised[0])
    TouchSender(objects, name).close()


def test_nothing_is_left_when_both_sides_are_closed(objects: NamedObjects, name: str) -> None:
    top = InTop(objects, name)
    with TouchSender(objects, name) as sender:
        sender.show(picture(1))
        top.cook()
    assert top.cook() is None

    names = (data_name(name), *info_names(name))
    assert [objects.find_memory(one, False) for one in names] == [None, None, None]


@pytest.mark.parametrize("has_info", [True, False])
@pytest.mark.parametrize("version", [1, 2])
def test_a_picture_of_a_top_is_taken_once(
    objects: NamedObjects, name: str, has_info: bool, version: int
) -> None:
    top = OutTop(objects, name, has_info)
    with TouchReceiver(objects, name) as receiver:
        for number in range(3):
            top.write(picture(number), version=version)

            assert receiver.look() is Look.NEW
            taken = receiver.picture
            assert taken is not None
            assert np.array_equal(taken.pixels[::-1], picture(number))
            assert receiver.look() is Look.SAME
    top.close()


def test_one_changed_byte_is_a_new_picture(objects: NamedObjects, name: str) -> None:
    top = OutTop(objects, name)
    still = picture(1, 400, 400)
    with TouchReceiver(objects, name) as receiver:
        top.write(still)
        receiver.look()
        for place in [(0, 0, 0), (399, 399, 3), (200, 7, 1)]:
            still[place] ^= 1
            top.write(still)

            assert receiver.look() is Look.NEW
    top.close()


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (7, 5), (511, 257)])
def test_any_byte_of_a_picture_of_any_size_is_compared(
    objects: NamedObjects, name: str, size: tuple[int, int]
) -> None:
    top = OutTop(objects, name)
    width, height = size
    mono = picture(1, width, height)[..., :1].copy()
    with TouchReceiver(objects, name) as receiver:
        top.write(mono, code=9)
        receiver.look()
        for place in (0, mono.size // 2, mono.size - 1):
            assert receiver.look() is Look.SAME
            mono.reshape(-1)[place] ^= 1
            top.write(mono, code=9)

            assert receiver.look() is Look.NEW
    top.close()


def test_a_receiver_may_come_first_and_stay_after_the_top(objects: NamedObjects, name: str) -> None:
    with TouchReceiver(objects, name) as receiver:
        assert receiver.look() is Look.ABSENT
        for tells in (True, False):
            top = OutTop(objects, name)
            assert receiver.look() is Look.ABSENT
            top.write(picture(tells))
            assert receiver.look() is Look.NEW
            assert top.is_supported
            top.close(tells)
            receiver.let_go()

            assert receiver.look() is Look.ABSENT


def test_a_top_that_says_it_leaves_is_let_go_of(objects: NamedObjects, name: str) -> None:
    top = OutTop(objects, name)
    top.write(picture(1))
    with TouchReceiver(objects, name) as receiver:
        receiver.look()
        top.close()

        assert receiver.look() is Look.ABSENT
        assert objects.find_memory(data_name(name), False) is None


def test_a_top_that_grows_is_followed(objects: NamedObjects, name: str) -> None:
    top = OutTop(objects, name)
    with TouchReceiver(objects, name) as receiver:
        for number, width in enumerate([16, 500, 40, 900]):
            top.write(picture(number, width))

            assert receiver.look() is Look.NEW
            taken = receiver.picture
            assert taken is not None
            assert np.array_equal(taken.pixels[::-1], picture(number, width))
    top.close()


def test_while_a_top_writes_the_receiver_does_not_wait_for_it(
    objects: NamedObjects, name: str
) -> None:
    top = OutTop(objects, name)
    top.write(picture(1))
    with TouchReceiver(objects, name) as receiver:
        with held_elsewhere(objects, f"{data_name(name)}Mutex"):
            assert receiver.look() is Look.BUSY

        assert receiver.look() is Look.NEW
    top.close()


def test_what_a_top_left_half_written_is_not_taken(objects: NamedObjects, name: str) -> None:
    top = OutTop(objects, name)
    top.write(picture(1))
    assert in_thread(lambda: die_with(objects.lock(f"{data_name(name)}Mutex"))) == []

    with TouchReceiver(objects, name) as receiver:
        assert receiver.look() is Look.BUSY
        assert receiver.look() is Look.NEW
    top.close()


def die_with(lock: NamedLock) -> None:
    """The lock's owner ends without releasing it; on Windows the end of the thread is enough."""
    lock.take(1000)
    if sys.platform != "win32":
        assert isinstance(lock, FileLock)
        lock.drop()


def test_a_false_header_is_refused_in_words_and_mended_by_a_true_one(
    objects: NamedObjects, name: str
) -> None:
    top = OutTop(objects, name)
    with TouchReceiver(objects, name) as receiver:
        top.write(picture(1))
        top.damage(8, b"\xff\xff\xff\x7f")

        assert receiver.look() is Look.REFUSED
        assert "size 2147483647x16" in receiver.refusal
        top.write(picture(2))
        assert receiver.look() is Look.NEW
    top.close()


def test_a_picture_larger_than_its_mapping_is_refused(objects: NamedObjects, name: str) -> None:
    top = OutTop(objects, name)
    with TouchReceiver(objects, name) as receiver:
        top.write(picture(1))
        top.damage(8, (2000).to_bytes(4, "little"))
        top.damage(32, (2000 * 16 * 4).to_bytes(8, "little"))

        assert receiver.look() is Look.REFUSED
        assert "do not lie behind the header" in receiver.refusal
    top.close()


def test_a_false_info_is_refused_and_not_written_to(objects: NamedObjects, name: str) -> None:
    info = objects.make_memory(info_names(name)[0], 76)
    info.bytes[:76] = 7
    with TouchReceiver(objects, name) as receiver:
        assert receiver.look() is Look.REFUSED
        assert "no info of a Shared Mem TOP" in receiver.refusal
        assert set(info.bytes[:76]) == {7}
    info.close()
