"""Pictures and videos of Qwen2-VL and Qwen2.5-VL: patches of any number of rows and columns, and positions on three axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.pictures.sight import Seen, Sight, Words
from workbench.pictures.video import Frames, Length, Wish, evenly
from workbench.types import Axes
from workbench.types import Picture as PromptPicture

if TYPE_CHECKING:
    from PIL.Image import Image

FPS, LEAST_FRAMES, MOST_FRAMES = 2.0, 4, 768
"""Frames that are taken of one second of a video, and of the whole, where the folder's files have other numbers neither."""


class QwenSight(Sight):
    """A token for each square of patches; a video's patches have two frames each."""

    def __init__(self, folder: Path, config: Mapping[str, Any], words: Words) -> None:
        super().__init__(folder, config, words)
        self.video_token_id = self._id("video_token_id")
        self.mark = words.decode((self.token_id,), skip_special_tokens=False)
        self.video_mark = words.decode((self.video_token_id,), skip_special_tokens=False)
        self.video_placeholder = self.video_mark.strip()
        vision = config.get("vision_config") or {}
        self.merge: int = vision.get("spatial_merge_size", 2)
        self.frames: int = vision.get("temporal_patch_size", 2)
        self.per_second: float = vision.get("tokens_per_second", 4) if config.get("model_type") == "qwen2_5_vl" else 0
        """Positions on the axis of time for one second of a video. 0: one from each patch to the next."""

    def see(self, picture: Image) -> Seen:
        made = self.processor([picture])
        return self._seen(made["pixel_values"], made["image_grid_thw"], self.mark)

    def choose_frames(self, length: Length, wish: Wish) -> list[int]:
        """Returns the numbers of frames, a whole number of patches in time where the video is as long."""
        count = wish.num_frames if wish.num_frames is not None or wish.fps is not None else self.video_value("num_frames")
        if count is None:
            least, most = self.video_value("min_frames") or LEAST_FRAMES, self.video_value("max_frames") or MOST_FRAMES
            wished = length.num_frames / length.fps * (wish.fps or self.video_value("fps") or FPS)
            most -= most % self.frames
            number = math.floor(min(max(wished, least), most, length.num_frames))
            number -= number % self.frames
        else:
            number = round(count / self.frames) * self.frames
        return evenly(length.num_frames, min(max(number, 1), length.num_frames))

    def see_video(self, frames: Frames) -> Seen:
        """Returns a video; the last frame is repeated where patches lack one."""
        pictures = frames.pictures
        pictures = [*pictures, *[pictures[-1]] * (-len(pictures) % self.frames)]
        made = self.processor(pictures, **self._video_size())
        grids = made["image_grid_thw"]
        rows, columns = grids[0, 1:].tolist()
        # Each picture's patches [N, C, frames, P * P] hold it `frames` times; a video's take one frame of each.
        single = made["pixel_values"].reshape(len(grids) // self.frames, self.frames, rows * columns, 3, self.frames, -1)
        patches = np.stack([single[:, i, :, :, 0] for i in range(self.frames)], 3)
        flat = patches.reshape(-1, made["pixel_values"].shape[1])
        grid = np.array([[len(single), rows, columns]], dtype=np.int64)
        return self._seen(flat, grid, self.video_mark, self.frames / frames.fps if self.per_second else 0.0)

    def axes(self, ids: tuple[int, ...], pictures: Sequence[PromptPicture]) -> Axes | None:
        """Returns positions that count on through text. A picture begins where the text before it ends; the text behind it begins
        as many positions later as its longer side has tokens."""
        if not pictures:
            return None
        parts: list[np.ndarray[Any, Any]] = []
        done, now = 0, 0
        for picture in sorted(pictures, key=lambda one: one.start):
            parts.append(_line(now, picture.start - done))
            now += picture.start - done
            grid = np.frombuffer(picture.arrays["grid"].data, dtype=np.int64)
            frames, rows, columns = int(grid[0]), int(grid[1]) // self.merge, int(grid[2]) // self.merge
            steps = self.per_second * picture.step_s or 1
            times = (np.arange(frames) * steps).astype(np.int64)
            parts.append(
                np.stack([x.ravel() for x in np.meshgrid(times, np.arange(rows), np.arange(columns), indexing="ij")]) + now
            )
            now += max(rows, columns)
            done = picture.end
        parts.append(_line(now, len(ids) - done))
        whole = np.concatenate(parts, 1).astype(np.int32)
        return Axes(whole.tobytes(), int(whole.max()) + 1)

    def _seen(self, patches: np.ndarray[Any, Any], grid: np.ndarray[Any, Any], mark: str, step_s: float = 0.0) -> Seen:
        num_tokens = int(grid.prod()) // self.merge**2
        return Seen({"patches": patches, "grid": grid}, mark * num_tokens, num_tokens, step_s=step_s)

    def _video_size(self) -> dict[str, Any]:
        """Returns the limits of a frame's pixels, where the folder has other ones for videos than for pictures."""
        size = self.video_value("size") or {}
        least = self.video_value("min_pixels") or size.get("shortest_edge")
        most = self.video_value("max_pixels") or size.get("longest_edge")
        return {"size": {"shortest_edge": least, "longest_edge": most}} if least and most else {}


def _line(start: int, count: int) -> np.ndarray[Any, Any]:
    """Returns positions of text, equal on all axes [3, count]."""
    return np.broadcast_to(np.arange(start, start + count), (3, count))
