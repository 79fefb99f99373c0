"""Pictures are taken out of conversations of every API, and stand where templates read them."""

from __future__ import annotations

import pytest

from workbench.errors import InvalidRequest
from workbench.text.parts import fitted, has_media, take_media

URL = {"type": "image_url", "image_url": {"url": "u", "detail": "low"}}
WHO = {"type": "text", "text": "who?"}


def user(*parts: object) -> dict[str, object]:
    return {"role": "user", "content": [*parts]}


@pytest.mark.parametrize(
    "part", [URL, {"type": "image_url", "image_url": "u"}, {"type": "input_image", "image_url": "u"},
             {"type": "image", "image": "u"}, {"type": "image", "url": "u"}, {"type": "image", "path": "u"}]
)  # fmt: skip
def test_a_picture_in_the_words_of_any_api(part: dict[str, object]):
    assert take_media([user(part, WHO)]) == ([user({"type": "image"}, WHO)], [("image", "u")])


def test_pictures_of_several_messages_are_in_order_and_other_messages_stay():
    answer = {"role": "assistant", "content": "A cat."}
    messages = [user({"type": "image", "image": 1}, WHO), answer, user(WHO, {"type": "video", "video": [2, 3]})]
    read, taken = take_media(messages)
    assert taken == [("image", 1), ("video", [2, 3])]
    assert read[1] == answer
    assert [part["type"] for part in read[2]["content"]] == ["text", "video"]
    assert has_media(messages)
    assert not any(map(has_media, ([answer], "no messages", [1])))


def test_neighbouring_frames_are_one_video():
    frames = [{"type": "image_url", "image_url": {"url": name}, "modalities": "video"} for name in "abc"]
    read, taken = take_media([user(*frames[:2], WHO, frames[2])])
    assert taken == [("video", ["a", "b"]), ("video", ["c"])]
    assert [part["type"] for part in read[0]["content"]] == ["video", "text", "video"]


@pytest.mark.parametrize(
    ("part", "source"),
    [({"video": "u", "fps": 2.0}, {"url": "u", "fps": 2.0}), ({"video": "u", "nframes": 4}, {"url": "u", "num_frames": 4}),
     ({"video_url": {"url": "u", "fps": 1}}, {"url": "u", "fps": 1}), ({"video": "u"}, "u"),
     ({"video": ["a", "b"], "fps": 2}, {"url": ["a", "b"], "fps": 2})],
)  # fmt: skip
def test_a_video_says_which_frames_to_take(part: dict[str, object], source: object):
    assert take_media([user({"type": "video", **part})])[1] == [("video", source)]


@pytest.mark.parametrize(
    "part", [{"type": "image"}, {"type": "image_url", "image_url": {}}, {"type": "image_url", "image_url": ""}]
)
def test_a_picture_without_a_source_is_refused_by_its_place(part: dict[str, object]):
    with pytest.raises(InvalidRequest, match=r"messages\[0\].content\[1\]"):
        take_media([user(WHO, part)])


def test_messages_fit_templates_with_parts_alone_with_both_and_with_text():
    messages = [{"role": "system", "content": "Be kind."}, user({"type": "image"}, WHO)]
    marks = {"image": "<image>"}
    assert fitted(messages, "part.type == 'image' or content is string", marks) == messages
    alone = fitted(messages, "part.type == 'image'", marks)
    assert alone == [{"role": "system", "content": [{"type": "text", "text": "Be kind."}]}, messages[1]]
    assert fitted(messages, "{{ content }}", marks)[1]["content"] == "<image>\nwho?"
