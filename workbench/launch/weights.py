"""`Replacement`: other weights for a running engine, read whole before the present ones leave."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

import psutil
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from workbench.client.answers import WeightsInfo
from workbench.config import ServerArgs
from workbench.errors import InvalidRequest, NotSupported, shown
from workbench.hub.find import accept
from workbench.hub.from_args import find_model
from workbench.launch.place import Hardware, name_of, weight_form
from workbench.launch.runner import Loaded
from workbench.model.base import Model
from workbench.model.check import check_model, override_of
from workbench.model.config import ModelConfig
from workbench.model.load import load_model
from workbench.model.scheme import check_scheme

SAME = "give a checkpoint of the same configuration, or open another engine"


class Replacement:
    """Loads checkpoints of the running model's configuration. Runs on the engine's thread, between two steps."""

    def __init__(self, args: ServerArgs, loaded: Loaded) -> None:
        self._args = args
        self._loaded = loaded
        self._given: dict[str, Tensor] = {}
        """Tensors that came since the last checkpoint. They stay in memory, since the next ones may come for others."""

    def replace(self, model_path: str, load_format: str | None = None) -> WeightsInfo:
        """Computes with the weights of another checkpoint from now on. `load_format` None reads what the checkpoint has.

        Raises a WorkbenchError, with no change, for a model that is not found, does not fit or is not whole.
        """
        kept = {name: value for name, value in self._args.to_dict().items() if name != "revision"}
        args = ServerArgs.make(**kept | {"model_path": model_path, "load_format": load_format or "auto"})
        is_dummy = args.load_format == "dummy"

        def check(path: Path) -> None:
            checked = check_model(path, override_of(args), dummy=is_dummy)
            check_scheme(args, path, checked.declared)
            _check_same(self._model, checked.entry.architecture, checked.config)

        path = find_model(args, check).path
        if is_dummy:  # the hub checks no configuration of these
            check(path)
        if Hardware.of(self._args).device.type == "cpu":
            _check_room(self._model.weights_bytes())
        self._use(self._read(args, path, {}))
        self._args, self._given = args, {}
        return describe_weights(args, self._loaded)

    def overlay(self, tensors: bytes) -> WeightsInfo:
        """Computes with these tensors, in the format of safetensors, in the place of those of the same names from now on.

        Raises a WorkbenchError, with no change, for tensors that do not fit and for weights of another kind than a folder's.
        """
        path = find_model(self._args, accept).path
        if path.is_file() or self._args.load_format == "dummy":
            raise NotSupported("tensors replace those of a folder with safetensors", hint="open the engine on such a folder")
        try:
            given = self._given | load(tensors)
        except SafetensorError as error:
            raise InvalidRequest.because("named_tensors", f"these are no tensors: {error}", hint=SAME) from None
        if Hardware.of(self._args).device.type == "cpu":
            _check_room(self._model.weights_bytes())
        self._use(self._read(self._args, path, given))
        self._given = given
        return describe_weights(self._args, self._loaded)

    def _read(self, args: ServerArgs, path: Path, given: dict[str, Tensor]) -> Model:
        place = Hardware.of(self._args)
        return load_model(
            path, dtype=place.dtype, device=place.device, dummy=args.load_format == "dummy", pickled=args.load_format == "pt",
            override=override_of(args), seed=args.random_seed or 0, form=weight_form(args, place),
            num_positions=args.context_length, given=given,
        )  # fmt: skip

    def _use(self, model: Model) -> None:
        self._loaded.runner.model = model
        if self._loaded.encoder is not None:
            self._loaded.encoder.model = model

    @property
    def _model(self) -> Model:
        return self._loaded.runner.model


def describe_weights(args: ServerArgs, loaded: Loaded) -> WeightsInfo:
    """Returns the source, type and size of the weights that `args` named."""
    model = loaded.runner.model
    return WeightsInfo(
        model_path=str(args.model_path),
        load_format=args.load_format,
        architecture=model.architecture,
        dtype=name_of(loaded.dtype),
        num_bytes=model.weights_bytes(),
        decode_bytes=model.decode_bytes(),
        quantization=model.quantization,
    )


def _check_same(model: Model, architecture: str, config: ModelConfig) -> None:
    """Raises InvalidRequest for another configuration: the K/V store and the grammars are made for the model's own."""
    running = model.architecture
    if architecture != running:
        raise InvalidRequest.because("model_path", f"the checkpoint is of {architecture}, the engine runs {running}", hint=SAME)
    for field in fields(config):
        new, old = getattr(config, field.name), getattr(model.config, field.name)
        if not _is_same(new, old):
            message = f"the checkpoint has {field.name} = {shown(new)}, the engine runs {shown(old)}"
            raise InvalidRequest.because("model_path", message, hint=SAME)


def _is_same(new: object, old: object) -> bool:
    """Returns whether two values of a configuration agree; GGUF files round to float32."""
    if isinstance(new, float) and isinstance(old, float):
        return math.isclose(new, old, rel_tol=1e-6)
    return new == old


def _check_room(num_bytes: int) -> None:
    """Raises InvalidRequest if the memory is too small for both weights at once."""
    free = psutil.virtual_memory().available
    if num_bytes > free:
        message = f"the new weights need {num_bytes:,} bytes beside the present ones, and {free:,} are free"
        raise InvalidRequest.because("model_path", message, hint="free memory, or open another engine")
