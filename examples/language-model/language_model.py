"""A causal language model of Hugging Face, on lines of different lengths."""

from pydoc_data.topics import topics

from torch.nn.functional import cross_entropy
from torch.utils.data import StackDataset, Subset
from transformers import AutoModelForCausalLM, ByT5Tokenizer


def model(path):
    return AutoModelForCausalLM.from_pretrained(path)


def data(count=512):
    lines = [line for text in topics.values() for line in text.splitlines() if line][: 2 * count]
    tokens = StackDataset(**ByT5Tokenizer()(lines, padding=True, return_tensors="pt"))
    return Subset(tokens, range(count)), Subset(tokens, range(count, len(lines)))


def loss(model, batch):
    counted = batch["attention_mask"][:, 1:]
    logits = model(**batch).logits[:, :-1]
    losses = cross_entropy(logits.transpose(1, 2), batch["input_ids"][:, 1:], reduction="none")
    return (losses * counted).sum(dim=1), counted.sum(dim=1)
