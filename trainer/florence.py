"""Make a tiny Florence-2 in the shape of the public folders, with what transformers answers.

    pip install -r trainer/requirements-family.txt && pip install "pillow<13"    # 13 filters some tall pictures another way
    python trainer/florence.py tests/goldens/smolvlm/images tests/goldens/florence2

`OUT` holds the files around the graphs, `OUT/onnx` the five graphs that onnx-community exports: vision_encoder,
embed_tokens, encoder_model, decoder_model and decoder_with_past_model. `OUT/goldens.json` has pixels of every picture,
prompt ids, and the answers of a greedy search and of three beams; and what the reference reads out of texts with places.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import transformers
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (Florence2Config, Florence2ForConditionalGeneration, Florence2Processor, GenerationConfig,
                          PreTrainedTokenizerFast)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from export import write_graph, write_json
from graphs import EmbedTokens

SIDE, TOKENS, LIMIT, MARGIN = 48, 37, 20, 1e-2
START, PAD, END, UNKNOWN, MASK, IMAGE = "<s>", "<pad>", "</s>", "<unk>", "<mask>", "<image>"
PLACES = ["<od>", "</od>", "<ocr>", "</ocr>", *(f"<loc_{n}>" for n in range(1000)), "<ground>", "<obj>", "<box>", "</box>",
          "<bbox>", "</bbox>", "<sep>", "<poly>", "</poly>"]
PROMPTS = ["<CAPTION>", "<DETAILED_CAPTION>", "<MORE_DETAILED_CAPTION>", "<OD>", "<DENSE_REGION_CAPTION>",
           "<OCR_WITH_REGION>", "<CAPTION_TO_PHRASE_GROUNDING>A small red circle left of a blue star.",
           "Describe this image in detail."]
CORPUS = ["What does the image describe? Describe in detail what is shown in the image. Describe with a paragraph",
          "Locate the objects with category name in the image. Locate the objects in the image, with their descriptions.",
          "What is the text in the image, with regions? Locate the phrases in the caption: a small red circle.",
          "A small red circle is left of a large blue star on a gray background, above the text.",
          "shapes and words in white, black, green, yellow and orange, a ring, a cross, a triangle, a square."]
TEXTS = [("<OD>", "car<loc_52><loc_333><loc_932><loc_774>wheel<loc_708><loc_575><loc_863><loc_771>"),
         ("<OD>", "</s><s>cat<loc_0><loc_0><loc_999><loc_999><loc_1><loc_2><loc_3><loc_4></s>"),
         ("<DENSE_REGION_CAPTION>", "a red car parked<loc_10><loc_20><loc_30><loc_40>a café<loc_5><loc_6><loc_7><loc_8>"),
         ("<CAPTION_TO_PHRASE_GROUNDING>", "A green car<loc_54><loc_374><loc_906><loc_692>a wall<loc_0><loc_1><loc_2><loc_9>"
                                           "a yellow wall<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8>it"
                                           "<loc_1><loc_2><loc_3><loc_4>"),
         ("<OCR_WITH_REGION>", "STOP HERE<loc_1><loc_2><loc_301><loc_4><loc_305><loc_206><loc_7><loc_208>exit 12"
                               "<loc_500><loc_500><loc_700><loc_510><loc_700><loc_560><loc_500><loc_550>")]
SIZES = [(640, 480), (1999, 37)]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level pairs with BART's special tokens first, and a token for each of a thousand places."""
    inner = Tokenizer(models.BPE(unk_token=None))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=[START, PAD, END, UNKNOWN], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    inner.train_from_iterator(CORPUS, trainer)
    inner.post_processor = processors.RobertaProcessing((END, 2), (START, 0), add_prefix_space=False)
    inner.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in [MASK, *PLACES, IMAGE]])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=START, eos_token=END, pad_token=PAD, unk_token=UNKNOWN,
                                   mask_token=MASK, extra_special_tokens={"image_token": IMAGE},
                                   clean_up_tokenization_spaces=False)


def build_model(tokenizer) -> Florence2ForConditionalGeneration:
    """Random weights with sharp attention and a large head: what is attended to decides the next token."""
    vision = dict(model_type="florence_vision", depths=[1, 1], patch_size=[7, 3], patch_stride=[4, 2], patch_padding=[3, 1],
                  patch_prenorm=[False, True], embed_dim=[16, 32], num_heads=[2, 4], num_groups=[2, 4], window_size=5,
                  projection_dim=48, drop_path_rate=0.0)
    text = dict(model_type="bart", vocab_size=len(tokenizer), d_model=48, encoder_layers=2, decoder_layers=2,
                encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=96, decoder_ffn_dim=96,
                max_position_embeddings=128, bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2,
                forced_bos_token_id=0, forced_eos_token_id=2, tie_word_embeddings=False)
    config = Florence2Config(vision_config=vision, text_config=text, tie_word_embeddings=False, bos_token_id=0,
                             pad_token_id=1, eos_token_id=2,
                             image_token_id=tokenizer.convert_tokens_to_ids(IMAGE))
    torch.manual_seed(5)
    model = Florence2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                gain = 1.8 if name.endswith(("q_proj", "k_proj")) else 1.2
                module.weight.normal_(0.0, gain / module.in_features ** 0.5)
            if isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, 0.7)
        model.model.multi_modal_projector.image_projection.weight.mul_(2.0)
        model.lm_head.weight.mul_(1.6)
        # Where one of these tokens would be said the answer ends instead: some are shorter than the limit.
        model.lm_head.weight[2] = model.lm_head.weight[[956, 134]].mean(0) * 1.5
        # One table for what is asked and what is said, as in the published models, though the head is another.
        for side in (model.model.language_model.encoder, model.model.language_model.decoder):
            side.embed_tokens.weight = model.get_input_embeddings().weight
    model.set_attn_implementation("eager")
    model.generation_config = GenerationConfig(bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2,
                                               forced_bos_token_id=0, forced_eos_token_id=2, num_beams=3,
                                               no_repeat_ngram_size=3, early_stopping=True)
    return model


class Vision(nn.Module):
    """pixel_values f32 [B,3,S,S] -> image_features [B,tokens,H]."""

    def __init__(self, model):
        super().__init__()
        self.tower, self.projector = model.model.vision_tower, model.model.multi_modal_projector

    def forward(self, pixel_values):
        return self.projector(self.tower(pixel_values).last_hidden_state)


def attend(attention, query, key, value, allowed):
    """Attention over keys and values [B,heads,K,D]; allowed bool [B,1,Q or 1,K]."""
    batch, length = query.shape[0], query.shape[1]
    query = attention.q_proj(query).view(batch, length, -1, attention.head_dim).transpose(1, 2)
    scores = query @ key.transpose(2, 3) * attention.scaling
    scores = torch.where(allowed, scores, torch.full_like(scores, torch.finfo(scores.dtype).min))
    mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, -1)
    return attention.out_proj(mixed)


def split(attention, projection, states):
    return projection(states).view(states.shape[0], states.shape[1], -1, attention.head_dim).transpose(1, 2)


def feed(layer, hidden):
    return layer.final_layer_norm(hidden + layer.fc2(layer.activation_fn(layer.fc1(hidden))))


class Encoder(nn.Module):
    """inputs_embeds f32 [B,S,H], attention_mask i64 [B,S] -> last_hidden_state f32 [B,S,H]."""

    def __init__(self, model):
        super().__init__()
        self.encoder = model.model.language_model.encoder

    def forward(self, inputs_embeds, attention_mask):
        places = torch.arange(inputs_embeds.shape[1]) + 2
        hidden = self.encoder.layernorm_embedding(inputs_embeds + self.encoder.embed_positions.weight[places])
        allowed = attention_mask[:, None, None, :] > 0
        for layer in self.encoder.layers:
            own = layer.self_attn
            key, value = split(own, own.k_proj, hidden), split(own, own.v_proj, hidden)
            hidden = layer.self_attn_layer_norm(hidden + attend(own, hidden, key, value, allowed))
            hidden = feed(layer, hidden)
        return hidden


class FirstDecoder(nn.Module):
    """encoder_attention_mask i64 [B,S], encoder_hidden_states f32 [B,S,H], inputs_embeds f32 [B,T,H] -> logits, caches."""

    def __init__(self, model):
        super().__init__()
        self.decoder, self.head = model.model.language_model.decoder, model.lm_head

    def run(self, inputs_embeds, mask, past, layers):
        length = inputs_embeds.shape[1]
        places = torch.arange(length) + past + 2
        hidden = self.decoder.layernorm_embedding(inputs_embeds + self.decoder.embed_positions.weight[places])
        asked = mask[:, None, None, :] > 0
        columns, rows = torch.arange(past + length), torch.arange(length) + past
        causal = (columns[None, :] <= rows[:, None])[None, None]
        present = []
        for layer, (key, value, crossed_key, crossed_value) in zip(self.decoder.layers, layers):
            own = layer.self_attn
            fresh, said = split(own, own.k_proj, hidden), split(own, own.v_proj, hidden)
            key = fresh if key is None else torch.cat([key, fresh], 2)
            value = said if value is None else torch.cat([value, said], 2)
            hidden = layer.self_attn_layer_norm(hidden + attend(own, hidden, key, value, causal))
            crossed = attend(layer.encoder_attn, hidden, crossed_key, crossed_value, asked)
            hidden = feed(layer, layer.encoder_attn_layer_norm(hidden + crossed))
            present.append((key, value, crossed_key, crossed_value))
        return self.head(hidden), present

    def forward(self, encoder_attention_mask, encoder_hidden_states, inputs_embeds):
        layers = [(None, None, split(a, a.k_proj, encoder_hidden_states), split(a, a.v_proj, encoder_hidden_states))
                  for a in (layer.encoder_attn for layer in self.decoder.layers)]
        logits, present = self.run(inputs_embeds, encoder_attention_mask, 0, layers)
        return logits, *(cache for layer in present for cache in layer)


class NextDecoder(FirstDecoder):
    """encoder_attention_mask, inputs_embeds f32 [B,1,H], four caches a layer -> logits, the two that grow of each layer."""

    def forward(self, encoder_attention_mask, inputs_embeds, *caches):
        layers = [caches[at:at + 4] for at in range(0, len(caches), 4)]
        logits, present = self.run(inputs_embeds, encoder_attention_mask, caches[0].shape[2], layers)
        return logits, *(cache for key, value, *_ in present for cache in (key, value))


def export(model, folder: Path) -> None:
    folder.mkdir(parents=True)
    text = model.config.text_config
    heads, dim = text.decoder_attention_heads, text.d_model // text.decoder_attention_heads
    write_graph(Vision(model), (torch.randn(2, 3, SIDE, SIDE),), folder / "vision_encoder.onnx", ["pixel_values"],
                ["image_features"], {"pixel_values": {0: "batch_size"}, "image_features": {0: "batch_size"}})
    names, asked = {0: "batch_size", 1: "sequence_length"}, {0: "batch_size", 1: "encoder_sequence_length"}
    write_graph(EmbedTokens(model), (torch.zeros(2, 3, dtype=torch.int64),), folder / "embed_tokens.onnx",
                ["input_ids"], ["inputs_embeds"], {"input_ids": names, "inputs_embeds": names})
    embeds, mask = torch.randn(2, 5, text.d_model), torch.ones(2, 5, dtype=torch.int64)
    write_graph(Encoder(model), (embeds, mask), folder / "encoder_model.onnx", ["inputs_embeds", "attention_mask"],
                ["last_hidden_state"], {"inputs_embeds": asked, "attention_mask": asked, "last_hidden_state": asked})
    caches = [f"{layer}.{side}.{part}" for layer in range(text.decoder_layers) for side in ("decoder", "encoder")
              for part in ("key", "value")]
    length = {c: "past_sequence_length" if ".decoder." in c else "encoder_sequence_length" for c in caches}
    present = {f"present.{c}": {0: "batch_size", 2: length[c]} for c in caches}
    write_graph(FirstDecoder(model), (mask, embeds, torch.randn(2, 2, text.d_model)), folder / "decoder_model.onnx",
                ["encoder_attention_mask", "encoder_hidden_states", "inputs_embeds"],
                ["logits", *(f"present.{c}" for c in caches)],
                {"encoder_attention_mask": asked, "encoder_hidden_states": asked, "inputs_embeds": names, "logits": names}
                | present)
    past = [torch.randn(2, heads, 3 if ".decoder." in c else 5, dim) for c in caches]
    growing = [f"present.{c}" for c in caches if ".decoder." in c]
    write_graph(NextDecoder(model), (mask, torch.randn(2, 1, text.d_model), *past), folder / "decoder_with_past_model.onnx",
                ["encoder_attention_mask", "inputs_embeds", *(f"past_key_values.{c}" for c in caches)],
                ["logits", *growing], {"encoder_attention_mask": asked, "inputs_embeds": {0: "batch_size"},
                                       "logits": {0: "batch_size"}}
                | {f"past_key_values.{c}": {0: "batch_size", 2: length[c]} for c in caches}
                | {name: {0: "batch_size", 2: "total_sequence_length"} for name in growing})


@torch.no_grad()
def check(model, folder: Path, inputs) -> float:
    """The largest difference between the graphs' logits and transformers', over a question and five more tokens."""
    def run(name, **feeds):
        session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
        return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))

    ids = inputs["input_ids"].numpy()
    features = run("vision_encoder", pixel_values=inputs["pixel_values"].numpy())["image_features"]
    words = run("embed_tokens", input_ids=ids[:, TOKENS:])["inputs_embeds"]
    asked, mask = np.concatenate([features, words], 1), np.ones_like(ids)
    states = run("encoder_model", inputs_embeds=asked, attention_mask=mask)["last_hidden_state"]
    said = torch.tensor([[2, 0, 100, 200, 300, 7, 9]])
    wanted = model(**inputs, decoder_input_ids=said).logits.numpy()
    embed = lambda at: run("embed_tokens", input_ids=said.numpy()[:, at])["inputs_embeds"]
    got = run("decoder_model", encoder_attention_mask=mask, encoder_hidden_states=states, inputs_embeds=embed(slice(0, 2)))
    worst = np.abs(got.pop("logits") - wanted[:, :2]).max()
    caches = {name.replace("present", "past_key_values"): value for name, value in got.items()}
    for at in range(2, said.shape[1]):
        got = run("decoder_with_past_model", encoder_attention_mask=mask, inputs_embeds=embed(slice(at, at + 1)), **caches)
        worst = max(worst, np.abs(got.pop("logits")[:, 0] - wanted[:, at]).max())
        caches |= {name.replace("present", "past_key_values"): value for name, value in got.items()}
    return float(worst)


@torch.no_grad()
def answer(model, inputs, beams: int) -> tuple[dict, float]:
    """Start, forced first and last token are no part of an answer."""
    said = model.generate(**inputs, do_sample=False, num_beams=beams, early_stopping=beams > 1, max_new_tokens=LIMIT + 2,
                          return_dict_in_generate=True, output_scores=True,
                          num_return_sequences=min(beams, 2))
    if beams > 1:
        margin = (said.sequences_scores[0] - said.sequences_scores[1]).item()
    else:
        best = torch.stack([scores[0].topk(2).values for scores in said.scores[1:LIMIT + 1]])
        margin = (best[:, 0] - best[:, 1]).min().item()
    ids = said.sequences[0].tolist()[2:]
    ended = 2 in ids
    ids = ids[:ids.index(2)] if ended else ids
    return {"beams": beams, "ids": ids[:LIMIT], "ended": len(ids) < LIMIT}, margin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=24)
    args = parser.parse_args()
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    pixels = CLIPImageProcessorPil(size=dict(height=SIDE, width=SIDE), do_center_crop=False, resample=3,
                                   image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    pixels.image_seq_length = TOKENS
    kinds = ["ocr", "phrase_grounding", "pure_text", "description_with_bboxes"]
    processor = Florence2Processor(pixels, tokenizer, post_processor_config={kind: {} for kind in kinds}
                                   | {"phrase_grounding": {"banned_grounding_tokens": ["it"]}})

    model.config.save_pretrained(args.out)
    model.generation_config.save_pretrained(args.out)
    tokenizer.backend_tokenizer.save(str(args.out / "tokenizer.json"))
    write_json(args.out / "tokenizer_config.json", dict(bos_token=START, eos_token=END, pad_token=PAD, unk_token=UNKNOWN,
                                                        mask_token=MASK, tokenizer_class="BartTokenizer"))
    write_json(args.out / "preprocessor_config.json",
               dict(do_center_crop=False, do_convert_rgb=True, do_normalize=True, do_rescale=True, do_resize=True,
                    crop_size=dict(height=SIDE, width=SIDE), image_mean=[0.485, 0.456, 0.406],
                    image_processor_type="CLIPImageProcessor", image_seq_length=TOKENS, image_std=[0.229, 0.224, 0.225],
                    resample=3, rescale_factor=1 / 255, size=dict(height=SIDE, width=SIDE)))
    export(model, args.out / "onnx")

    answers, skipped, worst = [], 0, 0.0
    files = sorted(f for f in args.pictures.iterdir() if f.suffix in (".png", ".webp"))
    for number, file in enumerate(files):
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
        shapes = [None, (0, 0, picture.width, picture.height // 2), (0, 0, picture.width // 3, picture.height),
                  (5, 5, 6, 6), (0, 9, picture.width, 10)]
        if crop := shapes[number % len(shapes)]:
            picture = picture.crop(crop)
        said = []
        for turn in range(2):
            prompt = PROMPTS[(2 * number + turn) % len(PROMPTS)]
            inputs = processor(images=picture, text=prompt, return_tensors="pt")
            for beams in (1, 3):
                one, margin = answer(model, inputs, beams)
                if margin >= MARGIN / (10 if beams > 1 else 1):
                    said.append({"prompt": prompt, "prompt_ids": inputs["input_ids"][0, TOKENS:].tolist(), **one})
                else:
                    skipped += 1
        worst = max(worst, check(model, args.out / "onnx", inputs))
        numbers = inputs["pixel_values"].flatten()
        answers.append({"file": file.name, "crop": crop, "pixels": [round(n, 5) for n in numbers[::691].tolist()],
                        "answers": said})
        if len(answers) == args.count:
            break
    texts = [{"task": task, "text": text, "size": size,
              "found": processor.post_process_generation(text=text, task=task, image_size=size)[task]}
             for task, text in TEXTS for size in SIZES]
    header = {"transformers": transformers.__version__, "torch": torch.__version__, "max_tokens": LIMIT, "margin": MARGIN,
              "skipped": skipped, "logits": float(f"{worst:.2g}"), "texts": texts}
    lines = ",\n".join(json.dumps(picture) for picture in answers)
    (args.out / "goldens.json").write_text(json.dumps(header)[:-1] + ', "pictures": [\n' + lines + "\n]}\n")
    total = sum(f.stat().st_size for f in args.out.rglob("*") if f.is_file())
    distinct = {tuple(a["ids"]) for p in answers for a in p["answers"]}
    ended = sum(a["ended"] for p in answers for a in p["answers"])
    print(f"{args.out}: {len(answers)} pictures, {sum(len(p['answers']) for p in answers)} answers, {skipped} skipped, "
          f"{len(distinct)} distinct, {ended} ended early, logits within {worst:.2g}, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
