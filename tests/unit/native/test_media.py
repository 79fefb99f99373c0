"""`image_data` and `modalities` are the pictures of each prompt, in every shape that callers give them."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.errors import InvalidRequest
from workbench.native.media import Shown, media_options, read_shown


def shown(image_data: Any, modalities: Any = None, count: int = 1, is_one: bool = True) -> list[list[tuple[str, Any]]]:
    return [[(one.kind, one.source) for one in each] for each in read_shown(image_data, modalities, count, is_one)]


def test_pictures_of_one_prompt():
    assert shown(None) == shown("") == shown([]) == [[]]
    assert shown("a") == shown(["a"]) == shown("a", "image") == shown(["a"], ["image"]) == [[("image", "a")]]
    assert shown(["a", "b"], ["multi-images"]) == [[("image", "a"), ("image", "b")]]


def test_frames_are_one_video():
    wanted = [[("video", ["a", "b"])]]
    assert shown(["a", "b"], "video") == shown(["a", "b"], ["video"]) == shown([["a", "b"]], "video") == wanted
    assert shown([["a", "b"]], ["video"]) == wanted
    assert shown(["a", ["b", "c"]], ["image", "video"]) == [[("image", "a"), ("video", ["b", "c"])]]


def test_pictures_of_several_prompts():
    assert shown(["a", ["b", "c"], None], None, 3, False) == [[("image", "a")], [("image", "b"), ("image", "c")], []]


def test_a_video_says_which_frames_to_take():
    for video in ({"url": "a", "fps": 2}, {"url": "a", "num_frames": 4}, {"url": ["b", "c"], "fps": 0.5}):
        wanted = Shown("video", video["url"], video.get("fps"), video.get("num_frames"))
        assert read_shown(video, "video", 1, True) == read_shown([video], ["video"], 1, True) == [(wanted,)]
        assert read_shown(["d", video], ["image", "video"], 1, True) == [(Shown("image", "d"), wanted)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(({"url": "a", "fps": 1},), "image_data is"), (({"fps": 1}, "video"), '"url"'),
     (({"url": "a", "frames": 1}, "video"), '"fps" or "num_frames"'), (({"url": "a", "fps": 0}, "video"), "fps is 0"),
     (({"url": "a", "fps": 1, "num_frames": 2}, "video"), "fps and num_frames"),
     (({"url": "a", "num_frames": 0}, "video"), "num_frames is 0"), (({"url": "a", "fps": "x"}, "video"), "fps is 'x'")],
)  # fmt: skip
def test_a_video_of_another_form_is_refused(arguments: tuple[Any, ...], words: str):
    with pytest.raises(InvalidRequest, match=words):
        shown(*arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("a", None, 2, False), "one value for 2 prompts"), ((["a"], None, 2, False), "1 values for 2 prompts"),
     (("a", "sound"), "modalities is 'sound'"), ((["a", "b", "c"], ["image", "video"]), "2 words for 3 pictures")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(arguments: tuple[Any, ...], words: str):
    with pytest.raises(InvalidRequest, match=words):
        shown(*arguments)


def test_options_of_pictures_are_read_back():
    media = [("image", "a"), ("video", ["b", "c"])]
    (read,) = read_shown(**media_options(media), count=1, is_one=True)
    assert read == (Shown("image", "a"), Shown("video", ["b", "c"]))
    assert media_options([]) == {}
