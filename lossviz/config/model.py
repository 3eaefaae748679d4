"""The `model` section: one class per family of networks."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from lossviz.config.own import Own
from lossviz.config.section import Arguments, Count, NonNegative, Positive, Section
from lossviz.errors import Refusal

Norm = Literal["none", "batch", "noisy-batch", "noise", "l1", "l2", "linf"]
Init = Literal["glorot", "he"]
_NOISE = "Scales of the noise of norm: noisy-batch and noise."
_INIT = "glorot: uniform (Glorot & Bengio 2010); he: normal, fan-in (He 2015)."


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
    noise: Noise = Field(Noise(), description=_NOISE)
    init: Init = Field("glorot", description=_INIT)
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
        description="Shortcuts where the shape changes. A: zero-padded, without parameters (He). B: a 1x1 convolution "
        "(Li). none: no shortcut anywhere, a plain network.",
    )
    norm: Norm = Field("batch", description="Normalisation after every convolution.")
    noise: Noise = Field(Noise(), description=_NOISE)
    init: Init = Field("he", description=_INIT)

    def conflicts(self) -> Iterator[Refusal]:
        """Depths that no network of the family has."""
        if self.depth % 6 != 2:
            below = self.depth - (self.depth - 2) % 6
            yield Refusal("model.depth", f"is not 6n + 2; the nearest are {below} and {below + 6}", self.depth)


class ImagenetResnet(Section):
    """Residual networks for ImageNet, stages of 64 to 512 channels (He et al. 2015, Table 1); images of any size."""

    name: Literal["resnet-imagenet"]
    depth: Literal[18, 34, 50, 101, 152] = Field(
        18, description="Number of weight layers; from 50 in blocks of 1x1, 3x3 and 1x1 convolutions."
    )
    width: Positive = Field(1.0, description="Factor on every number of channels.")
    shortcut: Literal["A", "B", "C", "none"] = Field(
        "B",
        description="Shortcuts where the shape changes. A: zero-padded, without parameters (He, 18 and 34). B: a 1x1 "
        "convolution (torchvision; He, from 50). C: a 1x1 convolution around every block. none: no shortcut anywhere, "
        "a plain network.",
    )
    stride_in: Literal["3x3", "1x1"] = Field(
        "3x3",
        description="Which convolution of a 1x1, 3x3, 1x1 block halves the image: the 3x3 (torchvision) or the first "
        "1x1 (He).",
    )
    norm: Norm = Field("batch", description="Normalisation after every convolution.")
    noise: Noise = Field(Noise(), description=_NOISE)
    init: Init = Field("he", description=_INIT)


class Densenet(Section):
    """DenseNets for 32x32 images, with bottlenecks and compression 1/2 (Huang et al. 2017), as in Li et al. 2018."""

    name: Literal["densenet"]
    depth: Literal[121, 161, 169, 201] = Field(121, description="Number of weight layers.")
    growth: Count = Field(32, description="Channels that each layer adds; depth 161 is published with 48.")
    norm: Norm = Field("batch", description="Normalisation before every convolution but the first.")
    noise: Noise = Field(Noise(), description=_NOISE)
    init: Init = Field("he", description=_INIT)


class Linear(Section):
    """A deep linear network: square matrices as large as the data, no biases (Santurkar et al. 2018, appendix A.1)."""

    name: Literal["linear"]
    depth: Annotated[int, Field(ge=1)] = Field(25, description="Number of matrices.")
    norm: Norm = Field("none", description="Normalisation after every matrix but the last.")
    noise: Noise = Field(Noise(), description=_NOISE)
    init: Init = Field("glorot", description=_INIT)


class Gpt(Section):
    """A small GPT that predicts next tokens; LayerNorm before each part, learned positions (Radford et al. 2019)."""

    name: Literal["gpt"]
    depth: Count = Field(4, description="Number of blocks, each of attention and two layers.")
    width: Count = Field(160, description="Size of the vector of a token.")
    heads: Count = Field(5, description="Number of heads of the attention; divides the width.")
    tied: bool = Field(True, description="Whether the last layer is the embedding of the tokens, one matrix.")

    def conflicts(self) -> Iterator[Refusal]:
        """Heads that do not share the width."""
        if self.width % self.heads:
            problem = f"does not divide model.width = {self.width}"
            yield Refusal("model.heads", problem, self.heads, also=("model.width",))


class Torchvision(Section):
    """A classifier of torchvision, `name: torchvision/resnet18` for short; torchvision initialises it from the seed."""

    name: Literal["torchvision"]
    network: Annotated[str, Field(min_length=1)] = Field(description="Name in torchvision.models, such as resnet18.")
    args: Arguments = Field({}, description="Arguments of that function, such as {dropout: 0.5}.")

    def conflicts(self) -> Iterator[Refusal]:
        """Arguments that decide the outputs or the weights."""
        yield from _not_yours(self.args)


class Timm(Section):
    """A classifier of timm, `name: timm/vit_tiny_patch16_224` for short; timm initialises it from the seed."""

    name: Literal["timm"]
    network: Annotated[str, Field(min_length=1)] = Field(description="Name in timm.list_models(), without a tag.")
    args: Arguments = Field({}, description="Arguments of timm.create_model, such as {img_size: 32}.")

    def conflicts(self) -> Iterator[Refusal]:
        """Arguments that decide the inputs, the outputs or the weights."""
        yield from _not_yours(self.args)


class Lora(Section):
    """Low-rank updates W + alpha / r * B A of frozen weights W (Hu et al. 2021), by peft."""

    r: Count = Field(8, description="Rank.")
    alpha: Positive = Field(16.0, description="Scale of the update, divided by r.")
    targets: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        "all-linear",
        description="Names, or ends of names, of the layers that get an update, such as [q_proj, v_proj]. all-linear: "
        "all but the head.",
    )


class Transformers(Section):
    """A network of transformers from a local folder, `name: transformers/AutoModelForCausalLM` for short.

    Weights are those of the folder; where it has none, or none for the head, they are drawn under the seed. Code in
    the folder never runs, and nothing is downloaded.
    """

    name: Literal["transformers"]
    network: Literal[
        "AutoModelForCausalLM",
        "AutoModelForMaskedLM",
        "AutoModelForSequenceClassification",
        "AutoModelForTokenClassification",
        "AutoModelForImageClassification",
    ] = Field(description="Class that builds it.")
    path: Annotated[str, Field(min_length=1)] = Field(
        description="Folder with config.json, and weights in model.safetensors or in several files with their index."
    )
    args: Arguments = Field({}, description="Values instead of those in config.json, such as {attention_dropout: 0.1}.")
    lora: Lora | None = Field(None, description="Train low-rank updates (and a new head) alone. Default: all weights.")

    def conflicts(self) -> Iterator[Refusal]:
        """Arguments that decide the outputs."""
        yield from _not_yours(self.args)


def _not_yours(args: Mapping[str, object]) -> Iterator[Refusal]:
    """Refuse arguments of networks of libraries that belong to the data, or would load something."""
    data, file = "the data decide it", "load weights from a file, surface.checkpoint"
    reasons = {"num_classes": "the data say how many classes there are", "num_labels": data, "in_chans": data}
    reasons |= dict.fromkeys(("weights", "checkpoint_path", "cache_dir"), file)
    for key in args:
        reason = file if key.startswith("pretrained") else reasons.get(key)
        if reason:
            yield Refusal(f"model.args.{key}", f"is not yours to give; {reason}", args[key])


class OwnModel(Own):
    """Your own: `target(**args)` returns a torch.nn.Module, whose weights are drawn under the experiment's seed.

    Parameters called `channels` or `classes` that have no default get the numbers of the data.
    """


Model = Annotated[
    Vgg | Resnet | ImagenetResnet | Densenet | Linear | Gpt | Torchvision | Timm | Transformers | OwnModel,
    Field(discriminator="name"),
]
