"""Our Inception as the `feature=` of torchmetrics, for training loops and several processes that score with it.

    from torchmetrics.image.fid import FrechetInceptionDistance
    from texsyn.metrics.inception import inception
    from texsyn.metrics.torchmetrics_adapter import FeatureModule

    fid = FrechetInceptionDistance(feature=FeatureModule(inception()))
    fid.update(real_pictures, real=True)  # uint8 (n, 3, height, width)
    fid.update(fake_pictures, real=False)
    value = float(fid.compute())

`KernelInceptionDistance` takes it in the same way, `InceptionScore` with tap="logits". torchmetrics itself is not
needed here (`pip install 'texsyn[eval-tm]'`). What its numbers have that ours have not, in version 1.9: results in
float32; KID and IS drawn from torch's global stream; IS with a spread of ddof 1 and, for counts that splits do not
divide, other splits. In all three leave normalize=False. IS with normalize=True cuts x * 255 off instead of rounding it
before anyone can see, and turns uint8 codes into their negatives; FID and KID hand floats on, which are refused here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from texsyn.metrics.inception import CLASSES, RESIZES, TAPS, Inception, features

__all__ = ["FeatureModule"]


class FeatureModule(nn.Module):
    """uint8 pictures (n, 3, h, w) -> features (n, num_features) float32 on the pictures' device.

    These are `inception.features`, so resize="reference" is what torchmetrics' own extractor does with antialias=False;
    its default, antialias=True, is another number. Pictures are resized one by one on the CPU, 16 pictures of the
    network's input are held at a time, no gradient is kept. ValueError for an unknown tap or resize and other pictures.

    >>> with torch.device("meta"):
    ...     net = Inception()
    >>> FeatureModule(net), FeatureModule(net, "logits").num_features
    (FeatureModule(tap=2048, resize=reference, weights=fid), 1008)
    """

    def __init__(self, net: Inception, tap: str = "2048", resize: str = "reference") -> None:
        super().__init__()
        vectors = [name for name in TAPS if not name.endswith("pre")]
        if tap not in vectors:
            raise ValueError(f"tap={tap!r} is not one of {', '.join(vectors)}")
        if resize not in RESIZES:
            raise ValueError(f"resize={resize!r} is not one of {', '.join(RESIZES)}")
        self.net, self.tap, self.resize = net, tap, resize
        self.num_features = CLASSES[net.kind] if tap == "logits" else int(tap)  # torchmetrics sizes its sums by it
        self.train()

    def train(self, mode: bool = True) -> FeatureModule:
        """Stays in evaluation: train() of a model that holds the metric would normalise by the batch from then on."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, num_features)."""
        if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(
                f"pictures must be uint8 (n, 3, height, width) with normalize=False, got {x.dtype} {tuple(x.shape)}; "
                "texsyn.images.from_unit makes codes of values in [0, 1]"
            )
        pictures = x.permute(0, 2, 3, 1).cpu().numpy()
        return features(self.net, pictures, (self.tap,), resize=self.resize)[self.tap].values.to(x.device)

    def __repr__(self) -> str:
        """Without the network's 94 convolutions."""
        return f"FeatureModule(tap={self.tap}, resize={self.resize}, weights={self.net.kind})"
