"""Named sizes of the SmolVLM architecture, built with transformers' own classes."""

import math

import torch
from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

from tokenizer import END, IMAGE, PAD, START, build_tokenizer

# image: side in pixels; scale: pixel-shuffle factor; v*: vision tower; t*: text decoder.
SIZES = {
    "scenes": dict(image=128, patch=8, scale=4, v=128, v_mlp=384, v_layers=4, v_heads=4,
                   t=128, t_mlp=384, t_layers=4, t_heads=4, t_kv=4),
    "tiny": dict(image=64, patch=8, scale=2, v=64, v_mlp=128, v_layers=2, v_heads=4,
                 t=64, t_mlp=128, t_layers=2, t_heads=4, t_kv=2),
    # About 53 M parameters, 256-pixel pictures, 64 image tokens: for throughput measurements.
    "small": dict(image=256, patch=16, scale=2, v=512, v_mlp=2048, v_layers=8, v_heads=8,
                  t=512, t_mlp=1536, t_layers=8, t_heads=8, t_kv=4),
}


def build_config(name: str) -> SmolVLMConfig:
    """The configuration of a named size, with the ids of the scenes tokenizer."""
    size, tokenizer = SIZES[name], build_tokenizer()
    ident = tokenizer.convert_tokens_to_ids
    vision = dict(hidden_size=size["v"], intermediate_size=size["v_mlp"], num_hidden_layers=size["v_layers"],
                  num_attention_heads=size["v_heads"], image_size=size["image"], patch_size=size["patch"])
    text = dict(model_type="llama", vocab_size=len(tokenizer), hidden_size=size["t"], intermediate_size=size["t_mlp"],
                num_hidden_layers=size["t_layers"], num_attention_heads=size["t_heads"], head_dim=size["t"] // size["t_heads"],
                num_key_value_heads=size["t_kv"], max_position_embeddings=1024, rms_norm_eps=1e-5,
                rope_theta=10000.0, bos_token_id=ident(START), eos_token_id=ident(END), pad_token_id=ident(PAD),
                tie_word_embeddings=False)
    return SmolVLMConfig(vision_config=vision, text_config=text, scale_factor=size["scale"], image_token_id=ident(IMAGE),
                         pad_token_id=ident(PAD), bos_token_id=ident(START), eos_token_id=ident(END),
                         tie_word_embeddings=False, architectures=["SmolVLMForConditionalGeneration"], dtype="float32")


def image_tokens(config: SmolVLMConfig) -> int:
    """How many tokens one picture becomes after the pixel shuffle."""
    side = config.vision_config.image_size // config.vision_config.patch_size
    return (side // config.scale_factor) ** 2


def build_model(name: str, seed: int, head_gain: float = 1.0) -> SmolVLMForConditionalGeneration:
    """A freshly initialised model. `head_gain` enlarges the head, so that random weights have clear winners."""
    torch.manual_seed(seed)
    model = SmolVLMForConditionalGeneration(build_config(name))
    with torch.no_grad():
        model.lm_head.weight.mul_(head_gain)
    return model.eval()


def start_well(model: SmolVLMForConditionalGeneration) -> None:
    """Initialise for training from nothing: a 2-D sine grid for positions, 1/sqrt(fan-in) for the projections."""
    vision = model.model.vision_model
    side, width = vision.embeddings.num_patches_per_side, vision.embeddings.embed_dim
    place = torch.arange(side).float()
    freq = torch.exp(torch.arange(width // 4) * (-math.log(100.0) / (width // 4)))
    wave = torch.cat([(place[:, None] * freq).sin(), (place[:, None] * freq).cos()], 1)
    grid = torch.cat([wave[:, None].expand(-1, side, -1), wave[None].expand(side, -1, -1)], 2)
    with torch.no_grad():
        vision.embeddings.position_embedding.weight.copy_(0.5 * grid.reshape(side * side, width))
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.normal_(0.0, 0.7 / math.sqrt(module.in_features))
        fan_in = vision.embeddings.patch_embedding.weight[0].numel()
        vision.embeddings.patch_embedding.weight.normal_(0.0, 1.0 / math.sqrt(fan_in))
        model.lm_head.weight.normal_(0.0, 0.02)
        model.model.text_model.embed_tokens.weight.normal_(0.0, 0.1)
