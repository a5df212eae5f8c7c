"""The network that counts: a backbone, and a head on its features. Saved as safetensors plus a readable model.json.

model.json carries its own digest and names that of model.safetensors; both are held when a model is read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from digests import DamagedFile, seal, sha256_of, unseal
from jobs.container import JobError
from modelling.backbones import LAST, Backbone, empty_backbone
from modelling.head import SOFTMAX, CountHead
from photo import Preprocessing
from serving.answer_rule import MOST_PROBABLE
from stacks.vocabulary import CLASSES

MODEL_SCHEMA: Final = 1
_TENSORS: Final = "model.safetensors"
_CARD: Final = "model.json"


class BinModel(nn.Module):
    """Photos as bytes in, logits out: the normalisation is inside, so nobody can forget or repeat it."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, backbone: Backbone, head: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.preprocessing = preprocessing
        self.frozen_norms = False
        self.register_buffer("pixel_mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("pixel_std", torch.tensor(preprocessing.std).view(1, 3, 1, 1) * 255, persistent=False)

    def train(self, mode: bool = True) -> BinModel:
        """As usual, but batch norms keep their own statistics where `frozen_norms`: those of small batches are poor."""
        super().train(mode)
        if mode and self.frozen_norms:
            for layer in self.backbone.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.eval()
        return self

    def normalise(self, photos: Tensor) -> Tensor:
        """uint8 RGB [N, S, S, 3] to the float input [N, 3, S, S] of the backbone."""
        return (photos.permute(0, 3, 1, 2).float() - self.pixel_mean) / self.pixel_std

    def forward(self, photos: Tensor) -> Tensor:
        """Logits [N, outputs] of uint8 RGB photos [N, S, S, 3]."""
        logits: Tensor = self.head(self.backbone(self.normalise(photos)))
        return logits


@dataclass(frozen=True)
class ModelCard:
    """What model.json says beside the weights. Models that were made before a field existed have its default."""

    backbone: str
    weights: str
    strategy: str
    loss: str = "cross-entropy"
    classes: tuple[int, ...] = CLASSES
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    features: str = LAST
    """Of which stages of the backbone the head reads, one of FEATURES."""
    feature_groups: tuple[int, ...] = ()
    """Columns of each group of features; empty where nobody has asked."""
    head: str = SOFTMAX
    """What the head's five scores are made of, one of HEADS."""
    answer: str = MOST_PROBABLE
    """The rule by which the answered count is chosen, one of ANSWERS."""
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    computed_in: dict[str, str] = field(default_factory=dict)
    """The numbers of `features` (strategy head) and of `training`: fp32, bf16 or fp16."""
    split_by: str = ""
    """What put the photos that it was trained on into their split; empty where that is not known."""
    tensors: str = ""
    """SHA-256 of model.safetensors; set when both are saved."""
    schema: int = MODEL_SCHEMA


def save_model(model: BinModel, card: ModelCard, folder: Path) -> None:
    """Write model.safetensors and model.json into `folder`. Equal weights give equal bytes."""
    _write(model.state_dict(), card, folder)


def combine_saved(backbone: Path | None, head: dict[str, Tensor], card: ModelCard, folder: Path) -> None:
    """Write a model from a saved backbone and a head's tensors without building the network.

    Without a backbone the head is written alone, for a trial whose model nobody serves.
    """
    tensors = {} if backbone is None else _read_tensors(backbone, read_card(backbone / _CARD))
    _write(tensors | head, card, folder)


def _write(tensors: dict[str, Tensor], card: ModelCard, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # The writer of safetensors reports a full disk without its error number, so Python writes the file.
    data = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    (folder / _TENSORS).write_bytes(data)
    (folder / _CARD).write_bytes(seal(asdict(replace(card, tensors=sha256_of(folder / _TENSORS)))))


def load_model(folder: Path) -> tuple[BinModel, ModelCard]:
    """The model that `save_model` wrote, in evaluation mode. Raises JobError for anything else."""
    card = read_card(folder / _CARD)
    tensors = _read_tensors(folder, card)
    if not any(name.startswith("backbone.") for name in tensors):
        raise JobError(
            "model.safetensors holds a head without its backbone, as a trial of a search saves it: take the model of "
            "the step Train, or train with --artefact model"
        )
    backbone = empty_backbone(card.backbone, card.features)
    model = BinModel(backbone, _head_for(tensors, card, backbone.width), card.preprocessing)
    try:
        model.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise JobError(f"model.safetensors does not fit backbone {card.backbone} of model.json: {error}") from error
    return model.eval(), card


def _read_tensors(folder: Path, card: ModelCard) -> dict[str, Tensor]:
    try:
        # Read once from front to back, not mapped: the folder may be a FastFile channel, and not all of them map.
        data = (folder / _TENSORS).read_bytes()
        if hashlib.sha256(data).hexdigest() != card.tensors:
            raise JobError(
                f"model.safetensors in {folder} is damaged or of another model: it does not have the digest that "
                "model.json names; make it again"
            )
        return load(data)
    except (OSError, SafetensorError) as error:
        raise JobError(f"model.safetensors cannot be read: {error}") from error


def _head_for(tensors: dict[str, Tensor], card: ModelCard, width: int) -> nn.Module:
    """A head of the shape that was saved; none for a backbone alone."""
    if "head.mean" not in tensors:
        return nn.Identity()
    return CountHead(width, len(card.classes), kind=card.head)


def read_card(path: Path) -> ModelCard:
    """The card of a saved model. Raises JobError where it is missing, damaged or of another schema."""
    try:
        document = json.loads(path.read_bytes())
        if document["schema"] != MODEL_SCHEMA:
            raise JobError(f"model.json has schema {document['schema']}, this code reads {MODEL_SCHEMA}")
        values = unseal(document, _CARD)
        pixels = Preprocessing.of(values.pop("preprocessing"))
        groups = tuple(values.pop("feature_groups", ()))
        return ModelCard(**{
            **values, "classes": tuple(values["classes"]), "preprocessing": pixels, "feature_groups": groups
        })  # fmt: skip
    except DamagedFile as error:
        raise JobError(f"{error} (in {path.parent}); make the model again") from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise JobError(f"model.json cannot be read: {type(error).__name__}: {error}") from error
