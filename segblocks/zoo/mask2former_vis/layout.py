"""How an implementation of Mask2Former names its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from segblocks.zoo.key_rules import Drop, Rule


@dataclass(frozen=True)
class Layout:
    """The names of one implementation.

    Args:
        name: of the implementation, for messages.
        backbone: prefix of the backbone's names.
        stem: of a ResNet's first convolution, behind that prefix.
        patches: of a Swin's patch embedding, behind that prefix.
        neck_layers: prefix of the layers of deformable attention, which a number follows.
        neck_hidden: of the first bias of a layer's feed-forward block, behind prefix and number.
        decoder_layers: prefix of the decoder's feed-forward blocks or layers.
        decoder_hidden: of their first bias, behind prefix and number.
        queries: of the content of the queries.
        classes: of the bias of the classifier.
        rules: from a backbone's name and the number of decoder layers to the key table.
        spell: brings all spellings of the implementation's names to one.
    """

    name: str
    backbone: str
    stem: str
    patches: str
    neck_layers: str
    neck_hidden: str
    decoder_layers: str
    decoder_hidden: str
    queries: str
    classes: str
    rules: Callable[[str, int], list[Rule | Drop]]
    spell: Callable[[str], str]

    def respelled(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict with every name in the one spelling."""
        return {self.spell(name): value for name, value in state_dict.items()}

    def sizes(self) -> dict[str, str]:
        """Names of the entries from whose shapes a model's sizes follow."""
        return {
            "queries": self.queries,
            "classes": self.classes,
            "offsets": f"{self.neck_layers}0.self_attn.sampling_offsets.bias",
            "neck": f"{self.neck_layers}0.{self.neck_hidden}",
            "decoder": f"{self.decoder_layers}0.{self.decoder_hidden}",
        }
