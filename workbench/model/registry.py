"""The families that run, one entry each. A family's file is imported when a model of it is opened, so the list needs no torch.

Adding a family is one file that ends in a `FAMILY`, and one entry here.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import ModelUnsupported, shown

if TYPE_CHECKING:
    from workbench.checkpoint.gguf_file import GgufFile
    from workbench.model.family import Family

Form = Literal["", "headless", "classifier", "reward"]


@dataclass(frozen=True)
class Entry:
    architecture: str
    """Name in `architectures` of config.json."""
    title: str
    model_type: str
    gguf: str
    """Name of the architecture in GGUF files; empty if it is not read from them."""
    models: str
    """Some models of it, in words."""
    module: str
    declared: str = "FAMILY"
    """Name of the declaration in the module."""
    form: Form = ""
    """Form in which the declared decoder runs: as it is, or as a model of vectors or scores (`pooled.py`)."""
    sight: str = ""
    """Class that reads its pictures, as "file.Class" below `workbench.pictures.sights`; empty for one that sees none."""
    given: Any = None
    """Class or family that a program registered (`outside.py`); None for those of this package."""
    resolved: Family[Any] | None = None
    """Family of `given`."""

    @property
    def gguf_architecture(self) -> str:
        """The value of `general.architecture` in its GGUF files."""
        return self.gguf.partition(" of ")[0]

    @property
    def family(self) -> Family[Any]:
        """Imports the family's file, and torch with it."""
        if self.resolved is not None:
            return self.resolved
        found: Family[Any] = getattr(importlib.import_module(self.module), self.declared)
        if not self.form:
            return found
        made: Family[Any] = importlib.import_module("workbench.model.pooled").FORMS[self.form](found)
        return made


def _entry(file: str, architecture: str, title: str, model_type: str, gguf: str, models: str, declared: str = "FAMILY") -> Entry:
    """Returns the entry of a family in `workbench/model/families`."""
    return Entry(architecture, title, model_type, gguf, models, f"workbench.model.families.{file}", declared)


def _seeing(
    file: str, architecture: str, title: str, model_type: str, models: str, sight: str, declared: str = "FAMILY"
) -> Entry:
    """Returns the entry of a family that sees."""
    module = f"workbench.model.families.{file}"
    return Entry(architecture, title, model_type, "", models, module, declared, sight=sight)


def _pooled(form: Form, file: str, architecture: str, title: str, model_type: str, models: str) -> Entry:
    """Returns the entry of a decoder's family in a form that makes no text."""
    return Entry(architecture, title, model_type, "", models, f"workbench.model.families.{file}", form=form)


_ENTRIES = (
    _entry("llama", "LlamaForCausalLM", "Llama", "llama", "llama",
           "Llama 1 to 3.3, SmolLM and SmolLM2, TinyLlama, and others saved under this architecture"),
    _entry("gemma3", "Gemma3ForCausalLM", "Gemma 3 (text)", "gemma3_text", "gemma3",
           "Gemma 3 270M and 1B, and the text half of larger ones saved alone"),
    _entry("mistral", "MistralForCausalLM", "Mistral", "mistral", "llama", "Mistral 7B, NeMo 12B, Small 3 (text)"),
    _entry("qwen2", "Qwen2ForCausalLM", "Qwen 2", "qwen2", "qwen2", "Qwen 2, Qwen 2.5, QwQ, and R1 distilled to Qwen"),
    _entry("qwen3", "Qwen3ForCausalLM", "Qwen 3", "qwen3", "qwen3", "Qwen 3 0.6B to 32B"),
    _entry("gemma", "GemmaForCausalLM", "Gemma", "gemma", "gemma", "Gemma 2B and 7B, CodeGemma"),
    _entry("gemma2", "Gemma2ForCausalLM", "Gemma 2", "gemma2", "gemma2", "Gemma 2 2B, 9B and 27B"),
    _entry("phi3", "Phi3ForCausalLM", "Phi-3", "phi3", "phi3", "Phi-3 mini and medium, Phi-3.5 mini, Phi-4, Phi-4 mini"),
    _entry("phi3_small", "Phi3SmallForCausalLM", "Phi-3-small", "phi3small", "", "Phi-3-small 8k and 128k"),
    _entry("smollm3", "SmolLM3ForCausalLM", "SmolLM3", "smollm3", "smollm3", "SmolLM3 3B"),
    _entry("granite", "GraniteForCausalLM", "Granite 3", "granite", "granite", "Granite 3.0 to 3.3, 2B and 8B"),
    _entry("olmo", "OlmoForCausalLM", "OLMo", "olmo", "olmo", "OLMo 1B and 7B"),
    _entry("olmo2", "Olmo2ForCausalLM", "OLMo 2", "olmo2", "olmo2", "OLMo 2 1B to 32B"),
    _entry("stablelm", "StableLmForCausalLM", "StableLM", "stablelm", "stablelm", "StableLM 3B, StableLM 2 1.6B and 12B"),
    _entry("cohere", "CohereForCausalLM", "Command-R", "cohere", "command-r", "Command-R, Command-R+, Aya 23 and Expanse"),
    _entry("cohere2", "Cohere2ForCausalLM", "Command-R7B", "cohere2", "cohere2", "Command-R7B, Command A"),
    _entry("glm", "GlmForCausalLM", "GLM", "glm", "chatglm", "GLM-4 9B of 2024, GLM-Edge"),
    _entry("glm4", "Glm4ForCausalLM", "GLM-4", "glm4", "glm4", "GLM-4 9B and 32B of 2025 (0414), GLM-Z1"),
    _entry("mixtral", "MixtralForCausalLM", "Mixtral", "mixtral", "llama of experts", "Mixtral 8x7B and 8x22B"),
    _entry("qwen_moe", "Qwen2MoeForCausalLM", "Qwen 2 MoE", "qwen2_moe", "qwen2moe", "Qwen1.5-MoE, Qwen2-57B-A14B", "QWEN2"),
    _entry("qwen_moe", "Qwen3MoeForCausalLM", "Qwen 3 MoE", "qwen3_moe", "qwen3moe", "Qwen3-30B-A3B, Qwen3-235B-A22B", "QWEN3"),
    _entry("deepseek", "DeepseekForCausalLM", "DeepSeek (V1) MoE", "deepseek", "deepseek", "deepseek-moe-16b"),
    _entry("deepseek_mla", "DeepseekV2ForCausalLM", "DeepSeek V2", "deepseek_v2", "deepseek2", "DeepSeek-V2, Lite, V2.5", "V2"),
    _entry("deepseek_mla", "DeepseekV3ForCausalLM", "DeepSeek V3", "deepseek_v3", "deepseek2 of sigmoids",
           "V3, R1, Kimi K2, Moonlight", "V3"),
    _entry("olmoe", "OlmoeForCausalLM", "OLMoE", "olmoe", "olmoe", "OLMoE-1B-7B"),
    _entry("dbrx", "DbrxForCausalLM", "DBRX", "dbrx", "dbrx", "DBRX, DBRX Instruct"),
    _entry("granite_moe", "GraniteMoeForCausalLM", "Granite MoE", "granitemoe", "granitemoe", "Granite 3 1B-A400M, 3B-A800M"),
    _entry("phimoe", "PhimoeForCausalLM", "Phi 3.5 MoE", "phimoe", "phimoe", "Phi-3.5-MoE-instruct"),
    _entry("phimoe", "PhiMoEForCausalLM", "Phi 3.5 MoE, as published", "phimoe", "phimoe", "Phi-3.5-MoE-instruct", "PUBLISHED"),
    _entry("xverse_moe", "XverseMoeForCausalLM", "XVERSE MoE", "xverse", "", "XVERSE-MoE-A4.2B"),
    _entry("grok", "Grok1ForCausalLM", "Grok 1", "grok-1", "grok", "Grok 1"),
    _entry("grok", "Grok1ModelForCausalLM", "Grok 1, as first converted", "", "grok", "Grok 1", "FIRST"),
    _entry("gpt_oss", "GptOssForCausalLM", "gpt-oss", "gpt_oss", "gpt-oss", "gpt-oss-20b and 120b"),
    _entry("minicpm3", "MiniCPM3ForCausalLM", "MiniCPM 3", "minicpm3", "minicpm3", "MiniCPM3-4B"),
    _entry("chatglm", "ChatGLMModel", "ChatGLM", "chatglm", "chatglm of fused tensors",
           "ChatGLM2 6B, ChatGLM3 6B, GLM-4 9B as published by its authors"),
    _entry("chatglm", "ChatGLMForConditionalGeneration", "ChatGLM for conditional generation", "chatglm",
           "chatglm of fused tensors", "the same, saved under this architecture", "GENERATION"),
    _entry("internlm2", "InternLM2ForCausalLM", "InternLM 2", "internlm2", "internlm2", "InternLM 2 and 2.5"),
    _entry("internlm3", "InternLM3ForCausalLM", "InternLM 3", "internlm3", "", "InternLM 3 8B"),
    _entry("exaone", "ExaoneForCausalLM", "Exaone 3", "exaone", "exaone", "Exaone 3.0 and 3.5"),
    _entry("baichuan", "BaichuanForCausalLM", "Baichuan 2", "baichuan", "baichuan of unit rows", "Baichuan 2 7B and 13B"),
    _entry("baichuan", "BaiChuanForCausalLM", "Baichuan", "baichuan", "baichuan", "Baichuan 7B and 13B", "FIRST"),
    _entry("xverse", "XverseForCausalLM", "XVERSE", "xverse", "xverse", "XVERSE 7B, 13B and 65B"),
    _entry("minicpm", "MiniCPMForCausalLM", "MiniCPM", "minicpm", "minicpm", "MiniCPM 1B and 2B"),
    _entry("qwen", "QWenLMHeadModel", "Qwen", "qwen", "qwen", "Qwen 1.8B to 72B of 2023"),
    _entry("gpt2", "GPT2LMHeadModel", "GPT-2", "gpt2", "gpt2", "GPT-2 124M to 1.5B"),
    _entry("gpt_bigcode", "GPTBigCodeForCausalLM", "StarCoder", "gpt_bigcode", "starcoder", "StarCoder 1B to 15B, SantaCoder"),
    _entry("phi", "PhiForCausalLM", "Phi-2", "phi", "phi2", "Phi-1, 1.5 and 2"),
    _entry("starcoder2", "Starcoder2ForCausalLM", "StarCoder2", "starcoder2", "starcoder2", "StarCoder2 3B, 7B and 15B"),
    _entry("mllama", "MllamaForCausalLM", "Llama 3.2 Vision (text)", "mllama_text_model", "",
           "the text half of Llama 3.2 Vision, saved alone", "TEXT"),
    # Models that see.
    _seeing("llava_pixtral", "LlavaForConditionalGeneration", "LLaVA", "llava", "LLaVA 1.5 7B and 13B, BakLLaVA, Pixtral 12B",
            "llava.llava_sight"),
    _seeing("llava_next", "LlavaNextForConditionalGeneration", "LLaVA-NeXT", "llava_next",
            "LLaVA 1.6 on Vicuna, Mistral, Llama 3 and Yi", "llava_next.LlavaNextSight", "NEXT"),
    _seeing("llava_next", "LlavaOnevisionForConditionalGeneration", "LLaVA-OneVision", "llava_onevision",
            "LLaVA-OneVision 0.5B, 7B and 72B", "llava_next.OnevisionSight", "ONEVISION"),
    _seeing("qwen_vl", "Qwen2VLForConditionalGeneration", "Qwen2-VL", "qwen2_vl", "Qwen2-VL 2B, 7B and 72B", "qwen_vl.QwenSight",
            "QWEN2"),
    _seeing("qwen_vl", "Qwen2_5_VLForConditionalGeneration", "Qwen2.5-VL", "qwen2_5_vl", "Qwen2.5-VL 3B, 7B, 32B and 72B",
            "qwen_vl.QwenSight", "QWEN25"),
    _seeing("gemma3_vision", "Gemma3ForConditionalGeneration", "Gemma 3 (pictures)", "gemma3", "Gemma 3 4B, 12B and 27B",
            "gemma3.Gemma3Sight"),
    _seeing("idefics3", "Idefics3ForConditionalGeneration", "Idefics 3", "idefics3", "Idefics3 8B", "idefics3.IdeficsSight"),
    _seeing("idefics3", "SmolVLMForConditionalGeneration", "SmolVLM", "smolvlm", "SmolVLM and SmolVLM2 256M, 500M and 2.2B",
            "idefics3.IdeficsSight"),
    _seeing("mistral3", "Mistral3ForConditionalGeneration", "Mistral 3 (pictures)", "mistral3", "Mistral Small 3.1 and 3.2",
            "pixtral.PixtralSight"),
    _seeing("mllama", "MllamaForConditionalGeneration", "Llama 3.2 Vision", "mllama", "Llama 3.2 Vision 11B and 90B",
            "mllama.MllamaSight"),
    _seeing("minicpmv", "MiniCPMV", "MiniCPM-V", "minicpmv", "MiniCPM-V 2.0, 2.5 (Llama 3) and 2.6",
            "minicpmv.MiniCPMVSight"),
    _seeing("phi3_vision", "Phi3VForCausalLM", "Phi-3-Vision", "phi3_v", "Phi-3-vision-128k, Phi-3.5-vision",
            "phi3_vision.Phi3VisionSight"),
    _seeing("phi4_vision", "Phi4MMForCausalLM", "Phi-4-multimodal", "phi4mm", "Phi-4-multimodal-instruct: text and pictures",
            "phi4_vision.Phi4VisionSight", "AUTHORS"),
    _seeing("phi4_vision", "Phi4MultimodalForCausalLM", "Phi-4-multimodal, as transformers saves it", "phi4_multimodal",
            "Phi-4-multimodal-instruct: text and pictures", "phi4_vision.Phi4VisionSight", "TRANSFORMERS"),
    # LLaVA in the folders of its authors.
    _seeing("llava_first", "LlavaLlamaForCausalLM", "LLaVA in its first form, on Llama", "",
            "liuhaotian/llava-v1.5 and v1.6 on Vicuna, lmms-lab/llama3-llava-next-8b, Yi-VL 6B and 34B",
            "llava_first.first_sight", "LLAMA"),
    _seeing("llava_first", "LlavaMistralForCausalLM", "LLaVA in its first form, on Mistral", "",
            "liuhaotian/llava-v1.6-mistral-7b", "llava_first.first_sight", "MISTRAL"),
    _seeing("llava_first", "LlavaQwenForCausalLM", "LLaVA in its first form, on Qwen", "",
            "lmms-lab/llava-next-72b, lmms-lab/llava-onevision-qwen2", "llava_first.first_sight", "QWEN"),
    _seeing("llava_first", "YiVLForCausalLM", "Yi-VL", "", "Yi-VL 6B and 34B", "llava_first.first_sight", "LLAMA"),
    # Encoders, and decoders that make vectors or scores.
    _pooled("headless", "llama", "LlamaModel", "Llama without a head", "llama", "embedding models on Llama"),
    _pooled("classifier", "llama", "LlamaForSequenceClassification", "Llama with a classification head", "llama",
            "reward models on Llama"),
    _pooled("headless", "mistral", "MistralModel", "Mistral without a head", "mistral", "E5-Mistral, SFR embeddings"),
    _pooled("classifier", "mistral", "MistralForSequenceClassification", "Mistral with a classification head", "mistral",
            "reward models on Mistral"),
    _pooled("headless", "qwen2", "Qwen2Model", "Qwen 2 without a head", "qwen2", "GTE-Qwen2 and other embedding models"),
    _pooled("classifier", "qwen2", "Qwen2ForSequenceClassification", "Qwen 2 with a classification head", "qwen2",
            "reward models on Qwen 2"),
    _pooled("headless", "qwen3", "Qwen3Model", "Qwen 3 without a head", "qwen3", "Qwen3-Embedding saved alone"),
    _pooled("classifier", "qwen3", "Qwen3ForSequenceClassification", "Qwen 3 with a classification head", "qwen3",
            "rerankers and reward models on Qwen 3"),
    _pooled("headless", "gemma2", "Gemma2Model", "Gemma 2 without a head", "gemma2", "BGE multilingual Gemma 2"),
    _pooled("classifier", "gemma2", "Gemma2ForSequenceClassification", "Gemma 2 with a classification head", "gemma2",
            "Skywork reward models on Gemma 2"),
    _pooled("reward", "internlm2", "InternLM2ForRewardModel", "InternLM 2 with a reward head", "internlm2",
            "InternLM2 reward models"),
    _entry("bert", "BertModel", "BERT", "bert", "bert", "all-MiniLM-L6-v2, BGE, E5, and other encoders"),
    _entry("bert", "BertForMaskedLM", "BERT with a head for masked tokens", "bert", "", "BERT, and encoders saved with it"),
    _entry("bert", "BertForSequenceClassification", "BERT with a classification head", "bert", "",
           "cross-encoders (MS MARCO MiniLM) and classifiers",
           "CLASSIFIER"),
    _entry("nomic_bert", "NomicBertModel", "Nomic BERT", "nomic_bert", "nomic-bert", "nomic-embed-text v1 and v1.5"),
    _entry("jina_bert", "JinaBertModel", "Jina BERT 2", "bert", "jina-bert-v2",
           "jina-embeddings-v2: English, Chinese, German, Spanish, code"),
    _entry("jina_bert", "JinaBertForMaskedLM", "Jina BERT 2, as published", "bert", "jina-bert-v2",
           "the same, as most of them name it"),
    _entry("jina_bert", "JinaBertForSequenceClassification", "Jina BERT 2 with a classification head", "bert", "",
           "jina-reranker-v1", "CLASSIFIER"),
    _entry("bert", "RobertaModel", "RoBERTa", "roberta", "", "all-distilroberta and other encoders", "ROBERTA"),
    _entry("bert", "RobertaForMaskedLM", "RoBERTa with a head for masked tokens", "roberta", "",
           "RoBERTa, all-distilroberta and others saved with it", "ROBERTA"),
    _entry("bert", "RobertaForSequenceClassification", "RoBERTa with a classification head", "roberta", "",
           "cross-encoders and classifiers on RoBERTa", "ROBERTA_CLASSIFIER"),
    _entry("bert", "XLMRobertaModel", "XLM-RoBERTa", "xlm-roberta", "", "BGE-M3, multilingual E5, and other encoders", "ROBERTA"),
    _entry("bert", "XLMRobertaForMaskedLM", "XLM-RoBERTa with a head for masked tokens", "xlm-roberta", "",
           "XLM-RoBERTa, and encoders saved with it", "ROBERTA"),
    _entry("bert", "XLMRobertaForSequenceClassification", "XLM-RoBERTa with a classification head", "xlm-roberta", "",
           "BGE rerankers", "ROBERTA_CLASSIFIER"),
)  # fmt: skip
FAMILIES = {entry.architecture: entry for entry in _ENTRIES}
_RESAMPLER = "a resampler, whose queries attend to a picture's patches, between the tower and the text"
LACKING = {
    "MiniCPMO": "towers and decoders of sound; MiniCPM-V runs", "QWenVLForConditionalGeneration": _RESAMPLER,
    "Qwen3VLForConditionalGeneration": "features of several of the tower's layers, added in the text's first ones",
}  # fmt: skip
"""Architectures that are known and not computed, and the part that they would need."""

OTHER_TYPES = {"kimi_k2": "deepseek_v3"}
"""The `model_type` of models that are published under the architecture of another one."""


def family_of(values: Mapping[str, Any]) -> Entry:
    """Returns the entry that config.json names. Raises ModelUnsupported with the nearest that there is."""
    kind, names = values.get("model_type"), values.get("architectures") or []
    names = [names] if isinstance(names, str) else names
    by_type = next((entry for entry in FAMILIES.values() if entry.model_type == kind), None)
    found = next((FAMILIES[name] for name in names if name in FAMILIES), by_type if not names else None)
    known = f"`workbench models` lists the {len(FAMILIES)} architectures that run"
    if found is None:
        what = ", ".join(map(str, names)) or f"model_type {shown(kind)}"
        if (lacking := next((name for name in names if name in LACKING), None)) is not None:
            raise ModelUnsupported(f"{lacking} is not computed yet: it needs {LACKING[lacking]}", hint=known)
        near = difflib.get_close_matches(str(names[0]), FAMILIES, n=1) if names else []
        raise ModelUnsupported(f"{what} is not supported", hint=f"the nearest that runs is {near[0]}; {known}" if near else known)
    if OTHER_TYPES.get(str(kind), kind) not in (None, found.model_type) and found.model_type:
        raise ModelUnsupported(f"config.json names {found.architecture} and model_type {shown(kind)}: which is it?", hint=known)
    return found


def family_of_gguf(file: GgufFile) -> Entry:
    """Returns the entry of a GGUF file's architecture. Raises ModelUnsupported with the list of those there are.

    Some architectures are several families, told apart by what their experts are, or by tensors that they fuse; the narrowest
    that fits counts. Two that no file differs in are read as one.
    """
    architecture, where = file.architecture, str(file.path)
    has_experts = file.meta.get(f"{architecture}.expert_count", 0) > 0
    is_sigmoid = file.meta.get(f"{architecture}.expert_gating_func", 0) == 2
    is_fused = "blk.0.attn_qkv.weight" in file.tensors
    kinds = {"of sigmoids": is_sigmoid, "of experts": has_experts, "of fused tensors": is_fused}
    names = [*(f"{architecture} {kind}" for kind, fits in kinds.items() if fits), architecture]
    by_name = {entry.gguf: entry for entry in reversed(FAMILIES.values()) if entry.gguf}
    found = next((by_name[name] for name in names if name in by_name), None)
    if found is None:
        known = ", ".join(dict.fromkeys(entry.gguf for entry in FAMILIES.values() if entry.gguf))
        kind = re.sub("[-_]", "", architecture)
        in_folders = next((entry for entry in FAMILIES.values() if re.sub("[-_]", "", entry.model_type) == kind), None)
        hint = f"{in_folders.title} runs from a folder of safetensors" if in_folders else f"supported architectures: {known}"
        raise ModelUnsupported(f"{where} has the architecture {architecture!r}", hint=hint)
    return found


def families_table() -> list[tuple[str, str, str, str]]:
    """Returns (family, architecture in config.json, architecture in GGUF files, some of its models), with a head."""
    head = ("FAMILY", "config.json", "GGUF", "MODELS")
    return [head, *((entry.title, entry.architecture, entry.gguf or "–", entry.models) for entry in FAMILIES.values())]
