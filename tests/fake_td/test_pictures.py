"""TOPs: downloads, uploads, CUDA memory, and when they cook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fake_td import TouchDesigner, tdError

SCRIPT = """
cooks = []
def onCook(scriptOp):
    cooks.append(absTime.frame)
"""
BGRA = [2, 1, 0, 3]


def gradient(width: int = 6, height: int = 4) -> np.ndarray[Any, Any]:
    count = width * height * 4
    return np.arange(count, dtype=np.uint8).reshape(height, width, 4)


@pytest.fixture
def source(touch: TouchDesigner, comp: Any) -> Any:
    top = comp.create("moviefileinTOP", "source")
    touch.show(top, gradient())
    return top


@pytest.fixture
def script(comp: Any) -> Any:
    callbacks = comp.create("textDAT", "callbacks")
    callbacks.text = SCRIPT
    top = comp.create("scriptTOP", "script")
    top.par.callbacks = callbacks
    return top


@pytest.fixture
def open_script(script: Any) -> Any:
    script.par.modoutsidecook = True
    return script


def test_a_download_is_float32_of_four_components_and_not_writable(source: Any) -> None:
    array = source.numpyArray()

    assert (array.dtype, array.shape) == (np.float32, (4, 6, 4))
    np.testing.assert_allclose(array * 255, gradient(), atol=1e-3)
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0, 0] = 1
    assert source.numpyArray(writable=True).flags.writeable


def test_writing_to_a_download_does_not_change_the_texture(source: Any) -> None:
    source.numpyArray(writable=True)[:] = 9

    assert source.numpyArray().max() < 1


def test_a_delayed_download_is_the_picture_of_the_call_before(
    touch: TouchDesigner, source: Any
) -> None:
    assert source.numpyArray(delayed=True) is None

    touch.show(source, gradient() + 100)
    first = source.numpyArray(delayed=True)
    second = source.numpyArray(delayed=True)

    np.testing.assert_allclose(first * 255, gradient(), atol=1e-3)
    np.testing.assert_allclose(second * 255, gradient() + 100, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("components", [1, 2, 3, 4])
def test_an_upload_of_each_documented_kind_is_taken(
    open_script: Any, dtype: Any, components: int
) -> None:
    open_script.copyNumpyArray(np.ones((2, 3, components), dtype))

    assert (open_script.width, open_script.height) == (3, 2)


def test_an_upload_comes_out_as_it_went_in(open_script: Any) -> None:
    open_script.copyNumpyArray(gradient())

    np.testing.assert_allclose(open_script.numpyArray() * 255, gradient(), atol=1e-3)


@pytest.mark.parametrize(
    "array",
    [
        np.ones((2, 3, 4), np.float16),
        np.ones((2, 3, 4), np.float64),
        np.ones((2, 3, 4), np.int32),
        np.ones((2, 3), np.uint8),
        np.ones((2, 3, 5), np.uint8),
        np.ones((0, 3, 4), np.uint8),
        np.ones((4, 3, 4), np.uint8)[::-1],
        np.ones((4, 3, 4), np.uint8)[:, ::2],
        [[1, 2, 3, 4]],
        None,
    ],
)
def test_any_other_upload_is_refused(open_script: Any, array: Any) -> None:
    with pytest.raises(tdError, match="copyNumpyArray"):
        open_script.copyNumpyArray(array)


def test_an_upload_belongs_into_the_cook(script: Any) -> None:
    with pytest.raises(tdError, match="onCook"):
        script.copyNumpyArray(gradient())

    script.par.callbacks.eval().text = (
        "def onCook(scriptOp):\n    scriptOp.copyNumpyArray(PIXELS)\n"
    )
    script.par.callbacks.eval().module.PIXELS = gradient()
    script.cook(force=True)

    assert script.width == 6


def test_an_upload_keeps_no_hold_of_the_array(open_script: Any) -> None:
    pixels = gradient()
    open_script.copyNumpyArray(pixels)

    pixels[:] = 0

    assert open_script.numpyArray().max() > 0


def test_a_non_commercial_licence_takes_no_more_than_1280(tmp_path: Path) -> None:
    with TouchDesigner(tmp_path, is_non_commercial=True) as touch:
        script = touch.project1.create("scriptTOP")
        script.par.modoutsidecook = True
        source = touch.project1.create("moviefileinTOP")
        touch.show(source, np.zeros((720, 1920, 4), np.uint8))

        assert touch.licenses.isNonCommercial
        assert source.width <= 1280
        script.copyNumpyArray(np.zeros((720, 1280, 4), np.uint8))
        with pytest.raises(tdError, match="1280x1280"):
            script.copyNumpyArray(np.zeros((720, 1281, 4), np.uint8))


def test_nothing_cooks_unless_somebody_looks_or_forces_it(
    touch: TouchDesigner, script: Any
) -> None:
    touch.play(2)
    assert script.totalCooks == 0

    script.cook()
    script.cook()
    assert script.totalCooks == 1
    script.cook(force=True)
    assert script.totalCooks == 2


def test_a_looked_at_operator_cooks_when_its_input_changed(
    touch: TouchDesigner, source: Any, script: Any
) -> None:
    script.inputConnectors[0].connect(source)
    touch.look_at(script)

    touch.play(3)
    touch.show(source, gradient())
    touch.play(1)

    assert script.par.callbacks.eval().module.cooks == [1.0, 4.0]


@pytest.mark.parametrize(
    ("level", "is_looked_at", "cooks"),
    [
        ("AUTOMATIC", True, 1),
        ("WHEN_USED", False, 0),
        ("WHEN_USED", True, 3),
        ("ALWAYS", False, 3),
        ("ON_CHANGE", False, 1),
    ],
)
def test_the_cook_level_says_when_it_cooks(
    touch: TouchDesigner, script: Any, level: str, is_looked_at: bool, cooks: int
) -> None:
    script.par.callbacks.eval().text += (
        f"\ndef onGetCookLevel(scriptOp):\n    return CookLevel.{level}\n"
    )
    if is_looked_at:
        touch.look_at(script)

    touch.play(3)

    assert script.totalCooks == cooks


def test_a_script_operator_sets_up_its_own_parameters_and_hears_their_pulses(script: Any) -> None:
    callbacks = script.par.callbacks.eval()
    callbacks.text = (
        "pulses = []\n"
        "def onSetupParameters(scriptOp):\n"
        "    scriptOp.appendCustomPage('Mine').appendPulse('Go')\n"
        "def onPulse(par):\n    pulses.append(par.name)\n"
    )

    script.par.setuppars.pulse()
    script.par.Go.pulse()

    assert callbacks.module.pulses == ["Go"]


def test_a_picture_goes_through_a_component(touch: TouchDesigner, comp: Any) -> None:
    inner, outer = comp.create("inTOP", "in1"), comp.create("outTOP", "out1")
    outer.inputConnectors[0].connect(inner)
    source = touch.project1.create("moviefileinTOP")
    sink = touch.project1.create("nullTOP")
    touch.show(source, gradient())

    comp.inputConnectors[0].connect(source)
    comp.outputConnectors[0].connect(sink)

    assert comp.inputs == [source]
    assert sink.width == 6


def test_wires_join_operators_of_one_family_beside_each_other(
    touch: TouchDesigner, comp: Any
) -> None:
    top, chop = comp.create("nullTOP"), comp.create("nullCHOP")
    elsewhere = touch.project1.create("nullTOP")

    with pytest.raises(tdError, match="one family"):
        chop.inputConnectors[0].connect(top)
    with pytest.raises(tdError, match="same component"):
        elsewhere.inputConnectors[0].connect(top)


def test_cuda_memory_of_bytes_is_blue_first(source: Any) -> None:
    memory = source.cudaMemory(stream=7)

    shape = memory.shape
    assert (shape.width, shape.height, shape.numComps, shape.dataType) == (6, 4, 4, np.uint8)
    assert memory.size == 6 * 4 * 4
    np.testing.assert_array_equal(memory._pixels, gradient()[..., BGRA])


def test_cuda_memory_copied_in_is_the_picture_it_came_from(source: Any, open_script: Any) -> None:
    memory = source.cudaMemory()

    open_script.copyCUDAMemory(memory.ptr, memory.size, memory.shape)

    np.testing.assert_array_equal(open_script.numpyArray(), source.numpyArray())


def test_cuda_memory_is_gone_with_its_object(source: Any, open_script: Any) -> None:
    memory = source.cudaMemory()
    pixels = memory._pixels

    del memory

    assert (pixels == 0xA5).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 7}, "bytes"),
        ({"dataType": np.float16}, "float16"),
        ({"numComps": 5}, "1 to 4"),
        ({"depth": 2}, "2D"),
    ],
)
def test_a_wrong_cuda_shape_is_refused(
    source: Any, open_script: Any, changes: dict[str, Any], message: str
) -> None:
    memory = source.cudaMemory()
    for name, value in changes.items():
        setattr(memory.shape, name, value)

    with pytest.raises(tdError, match=message):
        open_script.copyCUDAMemory(memory.ptr, memory.size, memory.shape)


def test_half_floats_are_no_cuda_format(source: Any) -> None:
    with pytest.raises(tdError, match="rgba16float"):
        source.cudaMemory(pixelFormat="rgba16float")
    assert source.cudaMemory(pixelFormat="rgba32float").shape.dataType is np.float32


def test_without_a_card_cuda_is_refused(tmp_path: Path) -> None:
    with TouchDesigner(tmp_path, has_cuda=False) as touch:
        top = touch.project1.create("nullTOP")

        with pytest.raises(tdError, match="CUDA"):
            top.cudaMemory()
