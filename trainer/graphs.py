"""The three graphs of the hub convention, written out over transformers' own modules.

Each wrapper computes what `SmolVLMForConditionalGeneration` computes, with everything that depends on
batch, sequence and past length left dynamic.
"""

import torch
from torch import nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb


class VisionEncoder(nn.Module):
    """pixel_values f32 [B,N,3,S,S], pixel_attention_mask bool [B,N,S,S] -> image_features [B*N,tokens,H]."""

    def __init__(self, model):
        super().__init__()
        self.vision, self.connector = model.model.vision_model, model.model.connector
        embeddings = self.vision.embeddings
        self.patch, self.side = embeddings.patch_size, embeddings.num_patches_per_side
        self.register_buffer("edges", torch.arange(1 / self.side, 1.0, 1 / self.side), persistent=False)
        self.register_buffer("steps", torch.arange(self.side).float(), persistent=False)

    def bucket(self, count):
        """Position of each row (or column) of `count` f32 [B,1] patches, rounded as transformers' bucketize does."""
        place = self.steps[None] / count * (1 - 1e-6)
        return (place[..., None] >= self.edges).sum(-1)

    def forward(self, pixel_values, pixel_attention_mask):
        size = self.side * self.patch
        pixels = pixel_values.reshape(-1, 3, size, size)
        patches = pixel_attention_mask.reshape(-1, self.side, self.patch, self.side, self.patch)
        mask = patches.to(torch.float32).amax((2, 4)) > 0
        rows = mask[:, :, 0].to(torch.float32).sum(1, keepdim=True).clamp(min=1.0)
        columns = mask[:, 0, :].to(torch.float32).sum(1, keepdim=True).clamp(min=1.0)
        position = self.bucket(rows)[:, :, None] * self.side + self.bucket(columns)[:, None, :]
        position = torch.where(mask, position, torch.zeros_like(position)).reshape(-1, self.side * self.side)
        embeddings = self.vision.embeddings
        hidden = embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
        hidden = hidden + embeddings.position_embedding(position)
        lowest = torch.finfo(torch.float32).min
        bias = (~mask).reshape(-1, 1, 1, self.side * self.side).to(torch.float32) * lowest
        hidden = self.vision.encoder(hidden, bias).last_hidden_state
        return self.connector(self.vision.post_layernorm(hidden))


class EmbedTokens(nn.Module):
    """input_ids i64 [B,S] -> inputs_embeds f32 [B,S,H]."""

    def __init__(self, model):
        super().__init__()
        self.table = model.get_input_embeddings()

    def forward(self, input_ids):
        return self.table(input_ids)


class Decoder(nn.Module):
    """One step of the Llama decoder with a growing cache, for any batch, sequence and past length (0 too).

    inputs_embeds [B,S,H], attention_mask i64 [B,P+S], position_ids i64 [B,S], num_logits_to_keep i64 [] (0 = all),
    then key and value [B,Hkv,P,D] of each layer -> logits [B,kept,V], then key and value [B,Hkv,P+S,D] of each layer.
    """

    def __init__(self, model):
        super().__init__()
        self.text, self.head = model.model.text_model, model.lm_head

    def attend(self, attention, hidden, rotary, allowed, key, value):
        batch, length = hidden.shape[0], hidden.shape[1]
        split = (batch, length, -1, attention.head_dim)
        query = attention.q_proj(hidden).view(split).transpose(1, 2)
        fresh = attention.k_proj(hidden).view(split).transpose(1, 2)
        query, fresh = apply_rotary_pos_emb(query, fresh, *rotary)
        key = torch.cat([key, fresh], 2)
        value = torch.cat([value, attention.v_proj(hidden).view(split).transpose(1, 2)], 2)
        groups = attention.num_key_value_groups
        wide_key, wide_value = (x if groups == 1 else x.repeat_interleave(groups, 1) for x in (key, value))
        scores = query @ wide_key.transpose(2, 3) * attention.scaling
        scores = torch.where(allowed, scores, torch.full_like(scores, torch.finfo(scores.dtype).min))
        mixed = (scores.softmax(-1) @ wide_value).transpose(1, 2).reshape(batch, length, -1)
        return attention.o_proj(mixed), key, value

    def forward(self, inputs_embeds, attention_mask, position_ids, num_logits_to_keep, *caches):
        length, total = inputs_embeds.shape[1], attention_mask.shape[1]
        places = torch.arange(total)
        causal = places[None, :] <= torch.arange(length)[:, None] + (total - length)
        allowed = causal[None, None] & (attention_mask > 0)[:, None, None, :]
        rotary = self.text.rotary_emb(inputs_embeds, position_ids)
        hidden, present = inputs_embeds, []
        for index, layer in enumerate(self.text.layers):
            mixed, key, value = self.attend(layer.self_attn, layer.input_layernorm(hidden), rotary, allowed,
                                            caches[2 * index], caches[2 * index + 1])
            hidden = hidden + mixed
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
            present += [key, value]
        kept = torch.where(num_logits_to_keep > 0, num_logits_to_keep, torch.full_like(num_logits_to_keep, 1 << 30))
        return self.head(self.text.norm(hidden[:, -kept:, :])), *present
