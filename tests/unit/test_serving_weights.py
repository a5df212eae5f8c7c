"""The weights of a served network lie in a file, and are given back once they are packed; answers stay the same."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving import network
from serving.artefact import Artefact
from serving.network import Network
from serving.weights import MappedWeights
from silent_openvino import openvino
from tests import grey_model


def test_answers_are_those_of_the_weights_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[MappedWeights] = []
    give_back = MappedWeights.give_back

    def noted(weights: MappedWeights) -> None:
        given_back.append(weights)
        give_back(weights)

    monkeypatch.setattr(MappedWeights, "give_back", noted)
    artefact = Artefact.read(grey_model.write(tmp_path / "model"))
    side = artefact.description.preprocessing.crop
    photos = np.random.default_rng(0).integers(0, 256, (5, side, side, 3), dtype=np.uint8)
    mapped = Network(artefact, threads=1)
    answers = [mapped.logits(photos[:number]) for number in (1, 5, 3)]
    assert len(given_back) == 1
    monkeypatch.setattr(network, "_with_mapped_weights", lambda core, graph: (graph, None))
    held = Network(artefact, threads=1)
    for number, answer in zip((1, 5, 3), answers, strict=True):
        assert answer.tobytes() == held.logits(photos[:number]).tobytes()


def test_a_folder_that_takes_no_file_leaves_the_weights_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact = Artefact.read(grey_model.write(tmp_path / "model"))
    side = artefact.description.preprocessing.crop
    photos = np.zeros((2, side, side, 3), dtype=np.uint8)
    expected = Network(artefact, threads=1).logits(photos)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert Network(artefact, threads=1).logits(photos).tobytes() == expected.tobytes()


def test_networks_side_by_side_answer_as_one_alone(tmp_path: Path) -> None:
    artefact = Artefact.read(grey_model.write(tmp_path / "model"))
    side = artefact.description.preprocessing.crop
    photos = np.random.default_rng(0).integers(0, 256, (40, side, side, 3), dtype=np.uint8)
    alone = Network(artefact, threads=1).logits(photos).tobytes()
    networks = Network.of_one_thread_each(artefact, 3)
    with ThreadPoolExecutor(len(networks)) as pool:
        answers = [found.tobytes() for found in pool.map(lambda network: network.logits(photos), networks)]
    assert answers == [alone] * 3


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artefact = Artefact.read(grey_model.write(tmp_path / "model"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    core = openvino.Core()
    graph, weights = MappedWeights.of(core, core.read_model(artefact.graph))
    assert isinstance(weights, MappedWeights) and len(graph.inputs) == 1
    assert not list((tmp_path / "temporary").iterdir())
