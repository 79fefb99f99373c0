"""`from workbench.srt.models.registry import ModelRegistry`: models of one's own, by the name of their architecture."""

from __future__ import annotations

from workbench.model.outside import OutsideModels


class ModelRegistry:
    """`ModelRegistry.models[name] = cls` and `ModelRegistry.models.update({...})` make models known to every engine."""

    models = OutsideModels()
