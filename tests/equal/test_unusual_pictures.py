"""Pictures in every kind of file, and of every shape, become what transformers makes of them, or are refused in two lines."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import seeing
import test_gemma3_vision as gemma3
import test_idefics3 as idefics3
import test_llava as llava
import test_llava_next as llava_next
import test_mistral3 as mistral3
import test_mllama as mllama
import test_qwen_vl as qwen_vl
from PIL import Image
from seeing import picture
from transformers.image_utils import load_image

from workbench.errors import InvalidRequest
from workbench.native.media import Shown


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    return written(picture(3, 37, 23), "JPEG", exif=exif)


def animated(kind: str) -> bytes:
    return written(picture(1), kind, save_all=True, append_images=[picture(2), picture(3)], duration=50)


def deep() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 65536, (30, 40), dtype=np.uint16)
    return Image.fromarray(noise)


FILES: dict[str, Callable[[], bytes]] = {
    "grey": lambda: written(picture(1).convert("L"), "PNG"),
    "grey and alpha": lambda: written(picture(1).convert("LA"), "PNG"),
    "alpha": lambda: written(Image.merge("RGBA", (*picture(1).split(), picture(2).convert("L"))), "PNG"),
    "palette": lambda: written(picture(1).convert("P"), "PNG"),
    "transparent palette": lambda: written(picture(1).convert("P"), "PNG", transparency=3),
    "two colours": lambda: written(picture(1).convert("1"), "PNG"),
    "16 bits": lambda: written(deep(), "PNG"),
    "CMYK": lambda: written(picture(1).convert("CMYK"), "JPEG"),
    "turned": turned,
    "GIF": lambda: animated("GIF"),
    "animated WebP": lambda: animated("WEBP"),
    "WebP": lambda: written(picture(1), "WEBP"),
    "BMP": lambda: written(picture(1), "BMP"),
    "TIFF": lambda: written(picture(1), "TIFF"),
    "progressive": lambda: written(picture(1, 99, 50), "JPEG", progressive=True),
}
SIZES = ((1, 1), (3, 3), (2, 1), (1, 3), (3, 40), (5, 300), (300, 5), (28, 28), (56, 28), (700, 500))
MODELS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "llava": (llava.made, llava.processor),
    "next": (lambda: llava_next.made("llava_next"), lambda: llava_next.processor("llava_next")),
    "onevision": (lambda: llava_next.made("llava_onevision"), lambda: llava_next.processor("llava_onevision")),
    "gemma3": (gemma3.made, gemma3.processor),
    "idefics3": (lambda: idefics3.made("idefics3"), lambda: idefics3.processor(cuts=True)),
    "mistral3": (mistral3.made, mistral3.Rows),
    "qwen": (lambda: qwen_vl.made("qwen2_vl"), qwen_vl.processor),
    "mllama": (mllama.made, mllama.processor),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """The eyes of a family, its tokenizer and the processor of transformers."""
    made, processor = MODELS[request.param]
    folder: Path = seeing.saved(made(), processor(), tmp_path_factory.mktemp(request.param))
    return (*seeing.eyes_of(folder), processor())


def seen(model: tuple[Any, Any, Any], data: bytes) -> Any:
    eyes, words, _ = model
    return eyes.prompt(f"a {eyes.sight.placeholder} b", [Shown("image", data)], words.encode, is_local=True)


def wanted(model: tuple[Any, Any, Any], data: bytes, path: Path) -> dict[str, Any]:
    eyes, _, processor = model
    path.write_bytes(data)
    with Image.open(path) as opened:
        return dict(processor(text=[f"a {eyes.sight.placeholder} b"], images=[load_image(opened)], return_tensors="np"))


def numbers(found: Any) -> list[np.ndarray[Any, Any]]:
    arrays = found.pictures[0].arrays
    return [np.frombuffer(array.data, array.dtype) for name, array in arrays.items() if name in ("pixels", "patches")]


def same(model: tuple[Any, Any, Any], data: bytes, path: Path) -> None:
    try:
        expected = wanted(model, data, path)
    except ValueError:
        with pytest.raises(InvalidRequest) as refused:
            seen(model, data)
        assert len(str(refused.value).splitlines()) == 2
        return
    found = seen(model, data)
    assert list(found.ids) == np.asarray(expected["input_ids"])[0].tolist()
    (ours,) = numbers(found)
    theirs = np.asarray(expected["pixel_values"]).ravel()
    np.testing.assert_array_equal(ours.ravel(), theirs[: ours.size])
    assert not theirs[ours.size :].any(), "what is left out fills tiles up"


@pytest.mark.parametrize("name", FILES)
def test_a_kind_of_file(model: tuple[Any, Any, Any], name: str, tmp_path: Path):
    same(model, FILES[name](), tmp_path / "picture")


@pytest.mark.parametrize("size", SIZES)
def test_a_shape(model: tuple[Any, Any, Any], size: tuple[int, int], tmp_path: Path):
    same(model, written(picture(1, *size), "PNG"), tmp_path / "picture")
