"""The two models of a codec together."""

from __future__ import annotations

from torch import nn

from nvc_models.tian2023.config import Tian2023Config
from nvc_models.tian2023.inter import InterModel
from nvc_models.tian2023.intra import IntraModel


class Tian2023(nn.Module):
    """Intra and inter model of one configuration."""

    def __init__(self, config: Tian2023Config) -> None:
        super().__init__()
        self.config = config
        self.intra = IntraModel(config.intra)
        self.inter = InterModel(config.inter)
