"""Text that language models are judged on."""

__all__ = ["alice_page", "arithmetic_problems"]


def arithmetic_problems() -> list[tuple[str, str, str]]:
    """Return what mathformer's four models answer right in floating point, all of it.

    Returns
    -------
    list of (str, str, str)
        345 times a prompt, the answer that greedy decoding gives before it stops, and the name of
        the model: every sum and product of two digits, every difference that is not negative and
        every quotient, with its remainder, as in ("7/2=", "Q3R1", "mathformer-div").
    """
    pairs = [(a, b) for a in range(10) for b in range(10)]
    return [
        *((f"{a}+{b}=", f"{a + b}", "mathformer-add") for a, b in pairs),
        *((f"{a}-{b}=", f"{a - b}", "mathformer-sub") for a, b in pairs if a >= b),
        *((f"{a}*{b}=", f"{a * b}", "mathformer-mul") for a, b in pairs),
        *((f"{a}/{b}=", f"Q{a // b}R{a % b}", "mathformer-div") for a, b in pairs if b),
    ]


def alice_page() -> str:
    """Return the first page of "Alice's Adventures in Wonderland" (1865, public domain).

    Its lines end as in Project Gutenberg's edition, which glassllm was trained on.
    """
    return ALICE


ALICE = """\
Alice was beginning to get very tired of sitting by her sister on the
bank, and of having nothing to do: once or twice she had peeped into
the book her sister was reading, but it had no pictures or
conversations in it, “and what is the use of a book,” thought Alice
“without pictures or conversations?”

So she was considering in her own mind (as well as she could, for the
hot day made her feel very sleepy and stupid), whether the pleasure of
making a daisy-chain would be worth the trouble of getting up and
picking the daisies, when suddenly a White Rabbit with pink eyes ran
close by her.

There was nothing so _very_ remarkable in that; nor did Alice think it
so _very_ much out of the way to hear the Rabbit say to itself, “Oh
dear! Oh dear! I shall be late!” (when she thought it over afterwards,
it occurred to her that she ought to have wondered at this, but at the
time it all seemed quite natural); but when the Rabbit actually _took a
watch out of its waistcoat-pocket_, and looked at it, and then hurried
on, Alice started to her feet, for it flashed across her mind that she
had never before seen a rabbit with either a waistcoat-pocket, or a
watch to take out of it, and burning with curiosity, she ran across the
field after it, and fortunately was just in time to see it pop down a
large rabbit-hole under the hedge.
"""
