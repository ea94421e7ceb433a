"""The word-level tokenizer of the scenes model.

Every piece is a whole word with its leading space (``" circle"``), a three-digit number
(``"045"``, each of 000..999 is one token) or a punctuation mark, so decoding is plain
concatenation (`Fuse`) and the text comes back exactly. All of it is expressed in
``tokenizer.json``: transformers and the Rust ``tokenizers`` crate read the same file.
"""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

END = "<end_of_utterance>"
START = "<|im_start|>"
PAD = "<|pad|>"
UNKNOWN = "<unk>"
IMAGE = "<image>"
FAKE = "<fake_token_around_image>"
GLOBAL = "<global-img>"
GRID = [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)]
SPECIAL = [PAD, UNKNOWN, START, END, FAKE, GLOBAL, IMAGE, *GRID]

# A word with its space, an opening bracket with its space, a number of three digits, or one character.
PIECES = r" ?[A-Za-z]+| ?\[|[0-9]{3}|[^A-Za-z]"

SHAPES = ["circle", "square", "triangle", "star", "cross", "ring"]
COLORS = ["red", "green", "blue", "yellow", "orange", "purple", "white", "black"]
SIZES = ["small", "large"]
_SCENE = """gray grey light dark medium pale plain gradient noisy background on a an and objects object
no shape shapes image picture scene word words text written reading left right of above below overlapping
beside in front behind is are the with at top bottom center middle touching to from it there contains
""".split()
_PROMPTS = """describe this image in detail elaborate on the visual elements of only what can be confidently
determined from location each where every find list all name count how many which color size position
""".split()
_OPENERS = """One Two Three Four Five Six Seven Eight Nine Ten No There The A An Describe Elaborate Find List
Where What Which How Name Count User Assistant System""".split()
PUNCTUATION = [" ", "\n", ".", ",", ":", ";", "?", "!", "'", '"', "-", "(", ")", "[", "]", " [", "/", "<", ">", "_"]

CHAT_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def vocabulary() -> list[str]:
    """All tokens in id order: special ones, the numbers, punctuation, then words."""
    words = sorted({*SHAPES, *COLORS, *SIZES, *_SCENE, *_PROMPTS})
    pieces = [*SPECIAL, *(f"{n:03d}" for n in range(1000)), *"0123456789", *PUNCTUATION]
    pieces += [f" {w}" for w in words] + words
    pieces += _OPENERS + [f" {w}" for w in _OPENERS]
    return list(dict.fromkeys(pieces))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer with SmolVLM's special tokens; pads on the left, as generation wants."""
    ids = {piece: index for index, piece in enumerate(vocabulary())}
    if len(ids) > 2048:
        raise ValueError(f"{len(ids)} tokens, at most 2048 are allowed")
    inner = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    inner.decoder = decoders.Fuse()
    inner.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        additional_special_tokens=[FAKE, GLOBAL, IMAGE, *GRID],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
        model_input_names=["input_ids", "attention_mask"],
        extra_special_tokens={
            "image_token": IMAGE,
            "fake_image_token": FAKE,
            "global_image_token": GLOBAL,
            "end_of_utterance_token": END,
        },
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def prompt_text(question: str, image_tokens: int) -> str:
    """The expanded chat prompt of one picture and one question, as the processor writes it."""
    picture = f"{FAKE}{GLOBAL}{IMAGE * image_tokens}{FAKE}"
    return f"{START}User:{picture}{question}{END}\nAssistant:"
