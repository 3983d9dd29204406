from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from tokenizers import Tokenizer

from deployments.embedding.config import EmbeddingConfig
from deployments.embedding.fake import FakeEmbedder
from tests.support.models import embed


@pytest.fixture
def fake() -> FakeEmbedder:
    return FakeEmbedder(EmbeddingConfig(backend="fake"))


def test_texts_that_share_words_are_near(fake: FakeEmbedder) -> None:
    asked, near, far = embed(fake, ["rok za žalbu", "Rok za žalbu je 15 dana", "walking the dog"], "query")
    assert asked @ near > 0.5 > asked @ far


def test_vectors_are_unit_and_the_same_in_every_process(fake: FakeEmbedder) -> None:
    found = embed(fake, ["čuvanje dokumenata", "", "!?"])
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    script = """
import sys
from deployments.embedding.config import EmbeddingConfig
from deployments.embedding.fake import FakeEmbedder
from deployments.inference.windows import Window
vectors = FakeEmbedder(EmbeddingConfig(backend="fake")).forward([Window("čuvanje dokumenata", 2)], "query")
print(vectors.tobytes().hex(), "torch" in sys.modules)
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert answer.split() == [found[:1].tobytes().hex(), "False"]


def test_its_tokenizer_counts_words(fake: FakeEmbedder) -> None:
    assert len(Tokenizer.from_str(fake.info.tokenizer_json).encode("Rok za žalbu je 15 dana.").ids) == 7
    assert fake.info.fingerprint.isalnum()
    assert 12 <= len(fake.info.fingerprint) <= 16
