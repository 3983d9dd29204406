from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deployments.config import Beyond, Config, Unit


class QueryConfig(Config):
    """What the sources of an answer are, and whether its statements are checked against them."""

    max_section_characters: Annotated[int, Beyond("its passages are sources, each by itself")] = Field(
        3_000, ge=0, description="length of a section of several passages that is one source; 0: sources are passages"
    )
    sections_s: Annotated[float, Beyond("the sources are passages")] = Field(
        1.0, gt=0, description="time to read whole sections"
    )

    unsupported: Literal["keep", "mark", "refuse"] = Field(
        "mark",
        description="`keep`: answers are not checked. `mark`: `citation` messages and `complete.grounding` say which "
        "statements their sources support. `refuse`: an answer is also held back until it is whole, and a notice "
        "replaces it if too few statements are supported",
    )
    supported_from: float = Field(
        0.5, ge=0, le=1, description="for `refuse`: share of an answer's statements that must be supported"
    )
    max_checked_statements: Annotated[int, Unit("statements"), Beyond("they count as `unchecked`")] = Field(
        200, ge=1, description="statements of one answer that are checked"
    )
    max_checked_characters: Annotated[int, Beyond("the rest counts as `unchecked`")] = Field(
        20_000, ge=1, description="characters of one answer that are checked"
    )


class PromptConfig(Config):
    """The order of passages in a prompt."""

    order: Literal["best_first", "free", "rank"] = Field(
        "best_first",
        description="`best_first`: the best passage, then the others as the prefix cache has them; `free`: all as it "
        "has them; `rank`: all by rank. Engines without a prefix cache always get them by rank",
    )
    max_tenants: Annotated[int, Beyond("the least recent tenant is forgotten")] = Field(
        64, ge=1, description="tenants whose prompts one ingress replica remembers"
    )
    max_passages: Annotated[int, Beyond("the least recent prompts are forgotten; their passages go by rank")] = Field(
        8_192, ge=1, description="passages of one tenant's prompts that it remembers in all"
    )
