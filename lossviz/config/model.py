"""The `model` section: one class per family of networks."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lossviz.config.section import Count, NonNegative, Positive, Section

Norm = Literal["none", "batch", "noisy-batch", "noise", "l1", "l2", "linf"]
Init = Literal["glorot", "he"]


class Noise(Section):
    """Scales of the noise of `norm: noisy-batch` and `norm: noise` (Santurkar et al. 2018, Algorithm 1)."""

    n_mu: NonNegative = Field(0.5, description="Per channel and step, mu ~ U(-n_mu, n_mu).")
    n_sigma: Annotated[float, Field(ge=1)] = Field(1.25, description="Per channel and step, sigma ~ U(1, n_sigma).")
    r_mu: NonNegative = Field(0.1, description="Per element, m ~ U(mu - r_mu, mu + r_mu).")
    r_sigma: NonNegative = Field(0.1, description="Per element, s ~ N(sigma, r_sigma), a standard deviation.")


class Vgg(Section):
    """VGG for 32x32 images (Simonyan & Zisserman 2014); depth 9 as in Li et al. 2018."""

    name: Literal["vgg"]
    depth: Literal[9, 11, 13, 16, 19] = Field(11, description="Number of weight layers.")
    width: Positive = Field(1.0, description="Factor on every number of channels, 64 to 512 at width 1.")
    norm: Norm = Field("none", description="Normalisation after every weight layer but the last.")
    noise: Noise = Field(default_factory=Noise, description="Scales of the noise of norm: noisy-batch and noise.")
    init: Init = Field("glorot", description="glorot: uniform (Glorot & Bengio 2010); he: normal, fan-in (He 2015).")
    classifier: tuple[Count, ...] | None = Field(
        None, description="Hidden widths of the classifier. Default: 512, 512 (depth 9: 256), times width."
    )


class Resnet(Section):
    """Residual networks for 32x32 images, 6n+2 layers of 16, 32 and 64 channels (He et al. 2015, section 4.2)."""

    name: Literal["resnet"]
    depth: Annotated[int, Field(ge=8)] = Field(20, description="Number of weight layers, 6n + 2: 20, 32, 44, 56, 110.")
    width: Positive = Field(1.0, description="Factor on every number of channels.")
    shortcut: Literal["A", "B", "none"] = Field(
        "B",
        description="Where the shape changes: A zero-padded, without parameters (He), B a 1x1 convolution (Li). "
        "none: a plain network.",
    )
    norm: Norm = Field("batch", description="Normalisation after every convolution.")
    noise: Noise = Field(default_factory=Noise, description="Scales of the noise of norm: noisy-batch and noise.")
    init: Init = Field("he", description="glorot: uniform (Glorot & Bengio 2010); he: normal, fan-in (He 2015).")

    @model_validator(mode="after")
    def _six_n_plus_two(self) -> "Resnet":
        if self.depth % 6 != 2:
            below = self.depth - (self.depth - 2) % 6
            raise ValueError(f"depth = {self.depth} is not 6n + 2; the nearest are {below} and {below + 6}")
        return self


class Linear(Section):
    """A deep linear network, matrices of the data's size without biases (Santurkar et al. 2018, appendix A.1)."""

    name: Literal["linear"]
    depth: Annotated[int, Field(ge=1)] = Field(25, description="Number of matrices.")
    norm: Norm = Field("none", description="Normalisation after every matrix but the last.")
    noise: Noise = Field(default_factory=Noise, description="Scales of the noise of norm: noisy-batch and noise.")
    init: Init = Field("glorot", description="glorot: uniform (Glorot & Bengio 2010); he: normal, fan-in (He 2015).")


Model = Annotated[Vgg | Resnet | Linear, Field(discriminator="name")]
