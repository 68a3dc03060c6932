"""The two models of a codec together."""

from __future__ import annotations

from torch import nn

from nvc_models.tian2023.config import Tian2023Config
from nvc_models.tian2023.inter import InterModel
from nvc_models.tian2023.intra import IntraModel
from nvc_models.widths import resize_layers


class Tian2023(nn.Module):
    """Intra and inter model of one configuration.

    Raises ``KeyError`` or ``RuntimeError`` if ``config.channels`` is that of another model.
    """

    def __init__(self, config: Tian2023Config) -> None:
        super().__init__()
        self.config = config
        self.intra = IntraModel(config.intra)
        self.inter = InterModel(config.inter)
        resize_layers(self, config.channels)
