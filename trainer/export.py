"""Write a SmolVLM model as a folder of the hub convention: configuration, tokenizer, processor and ONNX graphs.

    python trainer/export.py CHECKPOINT models/scenes
"""

import argparse
import json
import warnings
from pathlib import Path

import onnx
import torch
from transformers import GenerationConfig

from graphs import Decoder, EmbedTokens, VisionEncoder
from model import SIZES, build_model, image_tokens
from tokenizer import CHAT_TEMPLATE, END, PAD, START, build_tokenizer

OPSET = 17


def write_graph(module, arguments, path: Path, inputs: list, outputs: list, dynamic: dict) -> None:
    """Export one graph, check it, and keep the weights inside the file."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), arguments, str(path), input_names=inputs, output_names=outputs,
                          dynamic_axes=dynamic, opset_version=OPSET, dynamo=False)
    onnx.checker.check_model(str(path))


def write_graphs(model, folder: Path) -> None:
    """The three graphs of a decoder-only vision-language model, under `onnx/`."""
    folder.mkdir(parents=True, exist_ok=True)
    config, text = model.config, model.config.text_config
    side = config.vision_config.image_size
    write_graph(VisionEncoder(model), (torch.randn(2, 2, 3, side, side), torch.ones(2, 2, side, side, dtype=torch.bool)),
                folder / "vision_encoder.onnx", ["pixel_values", "pixel_attention_mask"], ["image_features"],
                {"pixel_values": {0: "batch_size", 1: "num_images"},
                 "pixel_attention_mask": {0: "batch_size", 1: "num_images"}, "image_features": {0: "num_features"}})
    names = {0: "batch_size", 1: "sequence_length"}
    write_graph(EmbedTokens(model), (torch.zeros(2, 3, dtype=torch.int64),), folder / "embed_tokens.onnx",
                ["input_ids"], ["inputs_embeds"], {"input_ids": names, "inputs_embeds": names})
    batch, past, length = 2, 3, 4
    cache = torch.randn(batch, text.num_key_value_heads, past, text.head_dim)
    caches = [f"{i}.{kind}" for i in range(text.num_hidden_layers) for kind in ("key", "value")]
    dynamic = {"inputs_embeds": names, "attention_mask": {0: "batch_size", 1: "total_sequence_length"},
               "position_ids": names, "logits": {0: "batch_size", 1: "kept_length"}}
    dynamic |= {f"past_key_values.{c}": {0: "batch_size", 2: "past_sequence_length"} for c in caches}
    dynamic |= {f"present.{c}": {0: "batch_size", 2: "total_sequence_length"} for c in caches}
    arguments = (torch.randn(batch, length, text.hidden_size), torch.ones(batch, past + length, dtype=torch.int64),
                 torch.arange(past, past + length).expand(batch, -1), torch.tensor(2), *(cache for _ in caches))
    write_graph(Decoder(model), arguments, folder / "decoder_model_merged.onnx",
                ["inputs_embeds", "attention_mask", "position_ids", "num_logits_to_keep",
                 *(f"past_key_values.{c}" for c in caches)], ["logits", *(f"present.{c}" for c in caches)], dynamic)


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_settings(model, folder: Path, max_new_tokens: int) -> None:
    """Configuration, tokenizer and processor files, readable by `SmolVLMProcessor.from_pretrained`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer, config = build_tokenizer(), model.config
    config.save_pretrained(folder)
    ident = tokenizer.convert_tokens_to_ids
    GenerationConfig(bos_token_id=ident(START), eos_token_id=ident(END), pad_token_id=ident(PAD), do_sample=False,
                     num_beams=1, repetition_penalty=1.0, max_new_tokens=max_new_tokens).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    side = config.vision_config.image_size
    picture = dict(do_convert_rgb=True, do_resize=True, do_rescale=True, do_normalize=True, do_pad=True,
                   do_image_splitting=False, size={"longest_edge": side}, max_image_size={"longest_edge": side},
                   resample=1, rescale_factor=1 / 255, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    write_json(folder / "preprocessor_config.json",
               picture | dict(image_processor_type="SmolVLMImageProcessor", processor_class="SmolVLMProcessor"))
    write_json(folder / "processor_config.json",
               dict(image_seq_len=image_tokens(config), processor_class="SmolVLMProcessor"))


def export_folder(model, folder: Path, max_new_tokens: int = 128) -> None:
    """The whole folder. The weights travel in the graphs alone; the PyTorch ones stay with the checkpoint."""
    model.set_attn_implementation("eager")
    write_settings(model, folder, max_new_tokens)
    write_graphs(model, folder / "onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=SIZES, default="scenes")
    args = parser.parse_args()
    model = build_model(args.size, 0)
    model.load_state_dict(torch.load(args.checkpoint, map_location="cpu", weights_only=True)["model"])
    export_folder(model, args.folder)
    print(f"{args.folder}: {sum(f.stat().st_size for f in (args.folder / 'onnx').iterdir()) / 1e6:.1f} MB of graphs")


if __name__ == "__main__":
    main()
