"""Make the tiny checkpoint of the Idefics3 family in the shapes that public folders have, with what transformers answers.

    pip install -r trainer/requirements-family.txt      # not those of the other scripts: this one wants transformers 5
    python trainer/family.py tests/goldens/smolvlm/images tests/goldens/family

`OUT/four` holds the files of transformers 4 with every marker a token (SmolVLM-256M, -500M), `OUT/five` those of
transformers 5 with three added tokens (SmolVLM-Instruct 2.2B, Idefics3-8B: the other markers are plain text there).
`OUT/onnx` holds one vision encoder, one embedding, and the decoder in both public forms: `plain` (attention written out,
position_ids, weights in two files beside the graph) and `gqa` (GroupQueryAttention with fused rotary embedding, made by
onnxruntime-genai's builder), in single and half precision. `OUT/goldens.json` has prompt ids and greedy answers.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
import transformers
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (GenerationConfig, Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor,
                          LlamaForCausalLM, PreTrainedTokenizerFast)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from export import write_graph, write_json
from graphs import Decoder, EmbedTokens

START, PAD, END, FAKE, IMAGE = "<|im_start|>", "<|pad|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>"
MARKERS = ["<global-img>", *(f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7))]
TILE, EDGE, LIMIT, MARGIN = 32, 96, 20, 1e-2
QUESTIONS = ["Describe this image in detail.", "Where is the red circle, and what stands beside it?", "Colour?"]
CORPUS = [*QUESTIONS, "A small red circle is left of a large blue star on a gray background, above the text.",
          "User: Assistant: the image shows objects, shapes and words in white, black, green, yellow and orange."]
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def build_tokenizer(markers: bool) -> PreTrainedTokenizerFast:
    """Byte-level pairs, as SmolLM has them; fake, image and end are added tokens, the markers only where asked."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                   pre_tokenizers.ByteLevel(add_prefix_space=False)])
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[PAD, START], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    inner.train_from_iterator(CORPUS, trainer)
    added = [FAKE, IMAGE, END, *(MARKERS if markers else [])]
    inner.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in added])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=START, eos_token=END, pad_token=PAD,
                                   padding_side="left", clean_up_tokenization_spaces=False)


def build_model(tokenizer) -> Idefics3ForConditionalGeneration:
    """Random weights with sharp attention and a large head: what is attended to decides the next token."""
    ident, words = tokenizer.convert_tokens_to_ids, len(tokenizer)
    ids = dict(bos_token_id=ident(START), eos_token_id=ident(END), pad_token_id=ident(PAD))
    vision = dict(hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=3, image_size=TILE,
                  patch_size=8)
    text = dict(model_type="llama", vocab_size=words, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=1024,
                rms_norm_eps=1e-5, tie_word_embeddings=False, **ids)
    config = Idefics3Config(vision_config=vision, text_config=text, scale_factor=2, image_token_id=ident(IMAGE),
                            tie_word_embeddings=False, **ids)
    torch.manual_seed(11)
    model = Idefics3ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                gain = 1.6 if name.endswith(("q_proj", "k_proj")) else 1.0
                module.weight.normal_(0.0, gain / module.in_features ** 0.5)
        model.get_input_embeddings().weight.normal_(0.0, 1.0)
        model.model.connector.modality_projection.proj.weight.mul_(2.0)
        model.lm_head.weight.mul_(4.0)
    model.set_attn_implementation("eager")
    return model


class Vision(nn.Module):
    """pixel_values f32 [B,N,3,S,S], pixel_attention_mask bool [B,N,S,S] (whole tiles) -> image_features [B*N,4,64]."""

    def __init__(self, model):
        super().__init__()
        self.vision, self.connector = model.model.vision_model, model.model.connector
        patches = TILE // 8
        with torch.no_grad():  # the reference's own positions of a whole tile; its bucketize has no ONNX form
            blank = self.vision.embeddings(torch.zeros(1, 3, TILE, TILE), torch.ones(1, patches, patches, dtype=torch.bool))
            pixels = self.vision.embeddings.patch_embedding(torch.zeros(1, 3, TILE, TILE)).flatten(2).transpose(1, 2)
        self.register_buffer("positions", blank - pixels)

    def forward(self, pixel_values, pixel_attention_mask):
        pixels = pixel_values.reshape(-1, 3, TILE, TILE)
        hidden = self.vision.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2) + self.positions
        seen = pixel_attention_mask.reshape(-1, 1, 1, TILE * TILE).to(torch.float32).amin(-1, keepdim=True)
        hidden = self.vision.encoder(inputs_embeds=hidden, attention_mask=None).last_hidden_state
        return self.connector(self.vision.post_layernorm(hidden)) * seen[:, 0]


class PlainDecoder(Decoder):
    """The decoder without num_logits_to_keep, as the public folders of 2024 have it; half: weights and caches f16."""

    def __init__(self, model, half: bool):
        super().__init__(model)
        self.half_precision = half

    def forward(self, inputs_embeds, attention_mask, position_ids, *caches):
        if self.half_precision:
            inputs_embeds = inputs_embeds.half()
        logits, *present = super().forward(inputs_embeds, attention_mask, position_ids, torch.tensor(0), *caches)
        return logits.float(), *present


def export_plain(model, path: Path, half: bool) -> None:
    text, kind = model.config.text_config, torch.float16 if half else torch.float32
    caches = [f"{i}.{part}" for i in range(text.num_hidden_layers) for part in ("key", "value")]
    names = {0: "batch_size", 1: "sequence_length"}
    dynamic = {"inputs_embeds": names, "attention_mask": {0: "batch_size", 1: "total_sequence_length"},
               "position_ids": names, "logits": names}
    dynamic |= {f"past_key_values.{c}": {0: "batch_size", 2: "past_sequence_length"} for c in caches}
    dynamic |= {f"present.{c}": {0: "batch_size", 2: "total_sequence_length"} for c in caches}
    past = [torch.randn(2, text.num_key_value_heads, 3, text.head_dim, dtype=kind) for _ in caches]
    arguments = (torch.randn(2, 4, text.hidden_size), torch.ones(2, 7, dtype=torch.int64),
                 torch.arange(3, 7).expand(2, -1), *past)
    decoder = PlainDecoder(model.to(kind), half)
    write_graph(decoder, arguments, path, ["inputs_embeds", "attention_mask", "position_ids",
                                           *(f"past_key_values.{c}" for c in caches)],
                ["logits", *(f"present.{c}" for c in caches)], dynamic)
    model.to(torch.float32)


def scatter_weights(path: Path) -> None:
    """Moves the weights of a graph into two files beside it, as large public graphs have them."""
    graph = onnx.load(path)
    files = [path.with_name(path.name + end) for end in ("_data", "_data_1")]
    contents = [bytearray(), bytearray()]
    weights = [tensor for tensor in graph.graph.initializer if len(tensor.raw_data) >= 1024]
    for number, tensor in enumerate(weights):
        which = number % 2
        offset, raw = len(contents[which]), tensor.raw_data
        contents[which] += raw
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", files[which].name), ("offset", offset), ("length", len(raw))):
            tensor.external_data.add(key=key, value=str(value))
    for file, content in zip(files, contents):
        file.write_bytes(bytes(content))
    onnx.save(graph, path)


def name_shapes_and_flatten(path: Path) -> None:
    """Leaves the width of the features unsaid, as public graphs do; writes `_flat` beside it, features of rank 2.

    Both keep their weights in one file.
    """
    graph = onnx.load(path)
    content = bytearray()
    for tensor in (t for t in graph.graph.initializer if len(t.raw_data) >= 1024):
        offset, raw = len(content), tensor.raw_data
        content += raw
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", path.name + "_data"), ("offset", offset), ("length", len(raw))):
            tensor.external_data.add(key=key, value=str(value))
    path.with_name(path.name + "_data").write_bytes(bytes(content))
    output = graph.graph.output[0]
    output.type.tensor_type.shape.dim[2].dim_param = "hidden_size"
    onnx.save(graph, path)
    for node in graph.graph.node:
        node.output[:] = ["features" if name == output.name else name for name in node.output]
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 64]), "flat"))
    graph.graph.node.append(onnx.helper.make_node("Reshape", ["features", "flat"], [output.name]))
    output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, ["num_tokens", "hidden_size"]))
    onnx.save(graph, path.with_name("vision_encoder_flat.onnx"))


def build_gqa(model, tokenizer, path: Path, precision: str, provider: str) -> None:
    """The decoder by onnxruntime-genai's builder, weights inside the file."""
    with tempfile.TemporaryDirectory() as scratch:
        source, out = Path(scratch, "text"), Path(scratch, "out")
        text = LlamaForCausalLM(model.config.text_config)
        text.model.load_state_dict(model.model.text_model.state_dict())
        text.lm_head.load_state_dict(model.lm_head.state_dict())
        text.save_pretrained(source)
        tokenizer.save_pretrained(source)
        subprocess.run([sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", source, "-o", out, "-p", precision,
                        "-e", provider, "-c", Path(scratch, "cache"), "--extra_options", "exclude_embeds=true"], check=True,
                       stdout=subprocess.DEVNULL)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(onnx.load(out / "model.onnx"), path)


def image_processor(edge: int = EDGE) -> Idefics3ImageProcessorPil:
    return Idefics3ImageProcessorPil(size={"longest_edge": edge}, max_image_size={"longest_edge": TILE}, resample=1,
                                     image_mean=[0.5] * 3, image_std=[0.5] * 3)


def write_generation(model, folder: Path) -> None:
    model.config.save_pretrained(folder)
    text = model.config.text_config
    GenerationConfig(bos_token_id=text.bos_token_id, eos_token_id=text.eos_token_id, pad_token_id=text.pad_token_id,
                     do_sample=False).save_pretrained(folder)


def write_four(model, tokenizer, folder: Path) -> None:
    """The files around the graphs as transformers 4 wrote them."""
    write_generation(model, folder)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    added = {str(i): dict(content=t.content, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True)
             for i, t in sorted(tokenizer.added_tokens_decoder.items())}
    write_json(folder / "tokenizer_config.json",
               dict(added_tokens_decoder=added, additional_special_tokens=[FAKE, IMAGE, END], bos_token=START,
                    eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False, model_max_length=1024,
                    processor_class="Idefics3Processor", tokenizer_class="GPT2Tokenizer"))
    write_json(folder / "chat_template.json", dict(chat_template=TEMPLATE))
    write_json(folder / "processor_config.json", dict(image_seq_len=4, processor_class="Idefics3Processor"))
    write_json(folder / "preprocessor_config.json",
               dict(do_convert_rgb=True, do_image_splitting=True, do_normalize=True, do_pad=True, do_rescale=True,
                    do_resize=True, image_mean=[0.5] * 3, image_std=[0.5] * 3,
                    image_processor_type="Idefics3ImageProcessor", max_image_size=dict(longest_edge=TILE),
                    processor_class="Idefics3Processor", resample=1, rescale_factor=1 / 255,
                    size=dict(longest_edge=EDGE)))


def write_five(model, processor, folder: Path) -> None:
    """The files around the graphs as transformers 5 writes them."""
    write_generation(model, folder)
    processor.save_pretrained(folder)


@torch.no_grad()
def answer(model, processor, picture, question: str) -> dict:
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}], add_generation_prompt=True)
    inputs = processor(images=[[picture]], text=[prompt], return_tensors="pt")
    said = model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=LIMIT, return_dict_in_generate=True,
                          output_scores=True)
    best = torch.stack([scores[0].topk(2).values for scores in said.scores])
    ids = inputs["input_ids"][0].tolist()
    return {"question": question, "tiles": inputs["pixel_values"].shape[1], "input_ids": ids,
            "generated_ids": said.sequences[0, len(ids):].tolist(),
            "margin": float(f"{(best[:, 0] - best[:, 1]).min().item():.4g}")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    shapes = {"four": build_tokenizer(True), "five": build_tokenizer(False)}
    model = build_model(shapes["four"])
    processors = {}
    for shape, tokenizer in shapes.items():
        (args.out / shape).mkdir(parents=True)
        processors[shape] = Idefics3Processor(image_processor(), tokenizer, image_seq_len=4, chat_template=TEMPLATE)
    write_four(model, shapes["four"], args.out / "four")
    write_five(model, processors["five"], args.out / "five")

    single = Idefics3Processor(image_processor(TILE), shapes["four"], image_seq_len=4, chat_template=TEMPLATE)
    answers, skipped = [], 0
    files = sorted(f for f in args.pictures.iterdir() if f.suffix in (".png", ".webp"))
    for number, file in enumerate(files):
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
        if number % 4 == 1:
            picture = picture.crop((0, 0, picture.width, picture.height // 2))
        if number % 4 == 2:
            picture = picture.crop((0, 0, picture.width // 3, picture.height))
        said = {shape: [answer(model, processors[shape], picture, QUESTIONS[(number + turn) % len(QUESTIONS)])
                        for turn in range(2)] for shape in shapes}
        if min(a["margin"] for two in said.values() for a in two) < MARGIN:
            skipped += 1
            continue
        capped = answer(model, single, picture, QUESTIONS[0])
        if capped["margin"] >= MARGIN:
            said["one_tile"] = [capped]
        answers.append({"file": file.name, "size": picture.size, **said})
        if len(answers) == args.count:
            break
    header = {"transformers": transformers.__version__, "torch": torch.__version__, "max_new_tokens": LIMIT,
              "margin": MARGIN, "skipped": skipped}
    lines = ",\n".join(json.dumps(picture) for picture in answers)
    (args.out / "goldens.json").write_text(json.dumps(header)[:-1] + ', "pictures": [\n' + lines + "\n]}\n")

    graphs = args.out / "onnx"
    (graphs / "plain").mkdir(parents=True)
    write_graph(Vision(model), (torch.randn(2, 2, 3, TILE, TILE), torch.ones(2, 2, TILE, TILE, dtype=torch.bool)),
                graphs / "vision_encoder.onnx", ["pixel_values", "pixel_attention_mask"], ["image_features"],
                {"pixel_values": {0: "batch_size", 1: "num_images", 3: "height", 4: "width"},
                 "pixel_attention_mask": {0: "batch_size", 1: "num_images", 2: "height", 3: "width"},
                 "image_features": {0: "num_features", 1: "num_tokens", 2: "hidden_size"}})
    names = {0: "batch_size", 1: "sequence_length"}
    name_shapes_and_flatten(graphs / "vision_encoder.onnx")
    write_graph(EmbedTokens(model), (torch.zeros(2, 3, dtype=torch.int64),), graphs / "embed_tokens.onnx",
                ["input_ids"], ["inputs_embeds"], {"input_ids": names, "inputs_embeds": names})
    export_plain(model, graphs / "plain/decoder_model_merged.onnx", False)
    scatter_weights(graphs / "plain/decoder_model_merged.onnx")
    export_plain(model, graphs / "plain/decoder_model_merged_fp16.onnx", True)
    build_gqa(model, shapes["four"], graphs / "gqa/decoder_model_merged.onnx", "fp32", "cpu")
    build_gqa(model, shapes["four"], graphs / "gqa/decoder_model_merged_fp16.onnx", "fp16", "cuda")
    total = sum(f.stat().st_size for f in args.out.rglob("*") if f.is_file())
    distinct = {tuple(a["generated_ids"]) for p in answers for s in shapes for a in p[s]}
    print(f"{args.out}: {len(answers)} pictures, {skipped} skipped, {len(distinct)} answers, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
