"""Which solved examples precede a prompt of in-context learning, and as which tokens."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from beft.data.order import order
from beft.tasks.words import Words


def draw(train: Sequence[Words], count: int, seed: int) -> list[Words]:
    """The first `count` examples of a training subset, in an order by seed.

    The seed decides their order, as it decides the subset.
    """
    return [train[i] for i in order(min(count, len(train)), "demonstrations", seed)]


def solved(example: Words, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens of an example with its first right answer and an empty line."""
    answer = example.answers[example.gold[0]]
    text = f"{example.before}{example.passage}{example.after}{answer}\n\n"
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def fitting(lengths: Sequence[int], left: int) -> list[int]:
    """The places of as many demonstrations as fit into `left` tokens, in ascending order.

    No other choice holds more of them, because the shortest are taken first; of equally long ones,
    those that come first. So a prompt with more room has the same demonstrations and more.
    """
    chosen = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        left -= lengths[place]
        if left < 0:
            break
        chosen.append(place)
    return sorted(chosen)


def before(
    blocks: Sequence[Sequence[int]], prompt: list[int], tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    """A prompt behind the tokens of demonstrations; its start token stays the first one."""
    start = [t for t in prompt[:1] if t in tokenizer.all_special_ids]
    return [*start, *(token for block in blocks for token in block), *prompt[len(start) :]]
