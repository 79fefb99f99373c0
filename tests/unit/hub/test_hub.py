"""Names: the kind of model that each one is, and the message when it is not available."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from workbench.errors import InvalidRequest, ModelCorrupt, ModelNotFound, ModelUnsupported
from workbench.hub import find as hub
from workbench.hub import hf_hub
from workbench.hub.catalog import CatalogEntry
from workbench.model.check import check_model
from workbench.model.tiny import write_config


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder in Hugging Face layout, as far as files matter."""
    path = tmp_path / "model"
    write_config(path)
    save_file({"a": np.zeros((3, 4), np.float32), "b": np.ones(5, np.float16)}, path / "model.safetensors")
    return path


def test_a_folder_is_taken_as_it_is(folder: Path):
    model = hub.resolve(folder)
    assert (model.path, model.name) == (folder, str(folder))


def test_a_folder_with_only_a_config_is_enough_for_dummy_weights(folder: Path):
    (folder / "model.safetensors").unlink()
    assert hub.resolve(folder, load_format="dummy").path == folder
    with pytest.raises(ModelNotFound, match=r"no \*\.safetensors") as caught:
        hub.resolve(folder)
    assert "dummy" in caught.value.hint


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_folder_with_a_damaged_file_is_not_found_to_be_a_model(folder: Path, name: str):
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(ModelCorrupt, match=name):
        hub.resolve(folder)


def test_a_gguf_file_is_the_model(make_gguf: Callable[..., Path], home: Path):
    path = make_gguf()
    assert hub.resolve(path).path == path
    assert hub.resolve(path.parent, load_format="gguf").path == path, "a folder with one GGUF stands for it"
    assert hub.resolve(path.parent).path == path
    assert not home.exists(), "nothing is written"


def test_a_folder_of_several_ggufs_is_ambiguous(make_gguf: Callable[..., Path]):
    make_gguf("a.gguf")
    folder = make_gguf("b.gguf").parent
    with pytest.raises(ModelNotFound, match="has 2 GGUF files"):
        hub.resolve(folder)


def test_files_beside_a_gguf_and_its_parts_are_no_other_models(make_gguf: Callable[..., Path]):
    folder = make_gguf("mmproj-model-f16.gguf").parent
    make_gguf("model.imatrix.gguf")
    model = make_gguf("model.gguf")
    assert hub.resolve(folder).path == model
    model.unlink()
    split = make_gguf("b-00001-of-00002.gguf")
    make_gguf("b-00002-of-00002.gguf")
    assert hub.resolve(folder).path == split


def test_a_load_format_that_the_model_does_not_have_is_an_error(make_gguf: Callable[..., Path], alias: CatalogEntry):
    for name in (make_gguf(), "tiny", "org/name:file.gguf"):
        with pytest.raises(InvalidRequest, match="load_format is 'safetensors'"):
            hub.resolve(name, load_format="safetensors")
    with pytest.raises(InvalidRequest, match="load_format is 'gguf'"):
        hub.resolve("org/name", load_format="gguf")


def test_only_hub_models_have_revisions(folder: Path, alias: CatalogEntry):
    for name in ("tiny", folder):
        with pytest.raises(InvalidRequest, match="revision is 'v1'"):
            hub.resolve(name, revision="v1")


@pytest.mark.parametrize(
    "name, repo, file, revision",
    [
        ("org/name", "org/name", None, None),
        ("org/name@v1.0", "org/name", None, "v1.0"),
        ("org/name@refs/pr/1", "org/name", None, "refs/pr/1"),
        ("org/na.me-1_x:Some.Q4_K.gguf", "org/na.me-1_x", "Some.Q4_K.gguf", None),
        ("org/name@v1:sub/x.gguf", "org/name", "sub/x.gguf", "v1"),
        ("name", None, None, None),
        ("org/name/more", None, None, None),
        ("org/name:file.bin", None, None, None),
        ("../name", None, None, None),
        ("org/", None, None, None),
        ("", None, None, None),
    ],
)
def test_hub_names_are_taken_apart(name: str, repo: str | None, file: str | None, revision: str | None):
    assert hub._split(name) == (repo, file, revision)


@pytest.mark.parametrize("name", ["", " ", "x" * 5000, "a\0b", "org/" + "x" * 300, "name:x", "a b/c"])
def test_no_name_is_odd_enough_for_anything_but_an_error_of_ours(name: str):
    with pytest.raises(ModelNotFound):
        hub.resolve(name)


@pytest.mark.parametrize("name", ["smollm2", "smollm2-153m", "SmolLM2-135M"])
def test_a_name_that_is_nearly_an_alias_is_corrected(name: str):
    with pytest.raises(ModelNotFound, match=f"'{name}' is no model") as caught:
        hub.resolve(name)
    assert caught.value.hint == "did you mean 'smollm2-135m'?"


@pytest.mark.parametrize("name", ["llama3", "llama", "qwen2", "mistral-7b", "phi-3"])
def test_a_name_that_is_like_no_alias_is_not_guessed_at(name: str):
    with pytest.raises(ModelNotFound, match=f"'{name}' is no model") as caught:
        hub.resolve(name)
    assert caught.value.hint == "aliases: smollm2-135m, gemma3-270m, all-minilm-l6-v2; other models by id, folder or GGUF file"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "notes.txt"])
def test_a_path_to_one_file_of_a_model_names_its_folder(folder: Path, name: str):
    (folder / "notes.txt").touch()
    with pytest.raises(ModelNotFound, match=f"{name} is one file of a model") as caught:
        hub.resolve(folder / name)
    assert caught.value.hint == f"give the folder that holds it: {folder}"


def test_a_path_to_some_other_file_says_what_is_wanted(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelNotFound, match=r"notes\.txt \(5 bytes\) is no GGUF file, and no folder"):
        hub.resolve(tmp_path / "notes.txt")


def test_no_error_about_a_file_of_the_user_advises_to_delete_it(folder: Path, make_gguf: Callable[..., Path], tmp_path: Path):
    gguf = make_gguf()
    whole = gguf.read_bytes()
    gguf.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.gguf").write_text("<html>")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1])
    for path in (folder, folder / "model.safetensors", gguf, tmp_path / "page.gguf"):
        with pytest.raises((ModelNotFound, ModelCorrupt)) as caught:
            hub.resolve(path)
        assert "delete" not in str(caught.value)
        assert caught.value.hint


@pytest.mark.parametrize("name", ["./model", "/no/such/place", "models/x.gguf", "~/nothing-here"])
def test_a_path_that_does_not_exist_is_shown_in_full(name: str):
    with pytest.raises(ModelNotFound, match="no file or folder") as caught:
        hub.resolve(name)
    assert str(Path(name).expanduser().absolute()) in caught.value.message


def test_a_hub_model_that_is_not_cached_is_an_error_without_a_network(tmp_path: Path):
    with pytest.raises(ModelNotFound, match="org/name at v2 is not in the hub's cache"):
        hub.resolve("org/name@v2", download_dir=tmp_path)
    with pytest.raises(ModelNotFound, match="org/name is not in the hub's cache"):
        hub.resolve("org/name:x.gguf", download_dir=tmp_path)


def cache_snapshot(cache: Path, repo: str, files: Path) -> Path:
    """Writes the files that the hub's library leaves behind after a download."""
    base = cache / f"models--{repo.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (base / "refs").mkdir(parents=True)
    (base / "refs" / "main").write_text(commit)
    return Path(shutil.copytree(files, base / "snapshots" / commit))


def test_a_cached_hub_model_needs_no_network(folder: Path, tmp_path: Path):
    snapshot = cache_snapshot(tmp_path / "cache", "org/name", folder)
    model = hub.resolve("org/name", download_dir=tmp_path / "cache")
    assert model.path == snapshot
    assert model.source == f"hub org/name at {snapshot.name}"


REFUSED = {
    "architecture": ({"architectures": ["FalconForCausalLM"], "model_type": "falcon"}, "FalconForCausalLM is not supported"),
    "quantised": ({"quantization_config": {"quant_method": "hqq", "bits": 4}}, r"quantised by hqq \(4 bits\)"),
    "key": ({"use_bidirectional_attention": True}, "use_bidirectional_attention = True"),
}


def checks(**override: object) -> Callable[[Path], None]:
    """Returns what the launch hands to `resolve`."""

    def check(path: Path) -> None:
        check_model(path, override)

    return check


@pytest.mark.parametrize("case", REFUSED)
def test_what_config_says_is_refused_before_weights_are_fetched(case: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The fake hub gives the requested files, one for each pattern, and keeps the requests."""
    import huggingface_hub

    changes, message = REFUSED[case]
    write_config(folder, **changes)
    asked: list[list[str]] = []

    def snapshot_download(repo: str, *, allow_patterns: list[str], **how: object) -> str:
        asked.append(allow_patterns)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(ModelUnsupported, match=message):
        hub.resolve("org/name", check=checks())
    assert len(asked) == 2
    assert not any("*.safetensors" in patterns for patterns in asked)
    if case == "key":
        assert hub.resolve("org/name", check=checks(**dict.fromkeys(changes))).path == folder
        assert "*.safetensors" in asked[-1]


def test_a_part_in_a_folder_below_is_there_when_the_model_is_judged(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The fake hub has adapters in a folder of their own, beside files below that match no pattern."""
    import huggingface_hub

    write_config(folder)
    stored = ["vision-lora/adapter_config.json", "vision-lora/adapter_model.safetensors", "onnx/model.safetensors"]

    def snapshot_download(repo: str, *, allow_patterns: list[str], ignore_patterns: list[str] | None, **how: object) -> str:
        for file in huggingface_hub.utils.filter_repo_objects(
            stored, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        ):
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).touch()
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    seen: list[list[str]] = []
    hub.resolve("org/name", check=lambda path: seen.append([file for file in stored if (path / file).is_file()]))
    assert seen == [stored[:2]]


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_is_refused_for_the_same_reasons_and_its_tokenizer_is_not(case: str, folder: Path):
    changes, message = REFUSED[case]
    write_config(folder, **changes)
    with pytest.raises(ModelUnsupported, match=message):
        hub.resolve(folder, check=checks())
    assert hub.resolve(folder, load_format="dummy", check=checks()).path == folder


def test_a_gguf_is_refused_by_its_metadata(make_gguf: Callable[..., Path]):
    path = make_gguf(meta={"llama.logit_scale": 0.5})
    with pytest.raises(ModelUnsupported, match=r"llama\.logit_scale = 0\.5"):
        hub.resolve(path, check=checks())
    assert hub.resolve(path, load_format="dummy", check=checks()).path == path


def test_a_cached_hub_gguf_needs_no_network(make_gguf: Callable[..., Path], tmp_path: Path):
    files = tmp_path / "files"
    files.mkdir()
    make_gguf("files/x.gguf")
    cache_snapshot(tmp_path / "cache", "org/name", files)
    model = hub.resolve("org/name:x.gguf", download_dir=tmp_path / "cache")
    assert model.source == "hub org/name, x.gguf"
    assert model.path.name == "x.gguf"


def test_an_alias_falls_back_to_the_hub(alias: CatalogEntry, index, folder: Path, monkeypatch: pytest.MonkeyPatch):
    index.files.clear()
    asked = []
    monkeypatch.setattr(hf_hub, "fetch_folder", lambda repo, *more: asked.append(repo) or folder)
    model = hub.resolve("tiny")
    assert asked == ["nobody/tiny"]
    assert (model.path, model.source) == (folder, f"hub nobody/tiny at {folder.name}")


def test_a_home_that_cannot_be_written_is_an_error(alias: CatalogEntry, home: Path):
    home.write_text("a file where the folder should be")
    with pytest.raises(ModelNotFound, match="nothing can be written there"):
        hub.resolve("tiny")


@pytest.mark.process
def test_a_model_that_is_here_loads_neither_torch_nor_gguf_nor_transformers(make_gguf: Callable[..., Path]):
    path = make_gguf()
    heavy = {"torch", "transformers", "gguf", "numpy", "filelock", "tqdm", "huggingface_hub"}
    code = f"import sys; from workbench.hub.find import resolve; resolve({str(path)!r}); print([*{heavy} & set(sys.modules)])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
