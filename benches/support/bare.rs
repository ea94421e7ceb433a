//! The bare loop: what is left when everything but the model is taken away.
//!
//! The same graphs, sessions built alike, the same number of sequences running, a new one taken up
//! as soon as one ends; no fetching, queues, topics or records. Prompts come as ids, pictures as
//! tiles prepared beforehand and not timed, or as files decoded and tiled in line. Each row's caches
//! are copied when the batch changes, which is how a person writes it first.

use std::sync::Arc;

use bytes::Bytes;
use ort::{
    session::{Session, SessionInputValue},
    value::{DynValue, Tensor},
};
use vila2::models::{
    ModelSettings, SmolVlmFolder,
    generation::{logits::argmax, repeats::RepeatRule},
    open_session,
    vlm::Tiles,
};
use vila2_actors::image::Image;

use super::workload::{Workload, decoded};

/// What the loop is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// Tiles: nothing but the model is timed.
    Tiles,
    /// Picture files.
    Files,
}

/// The loop with its sessions, opened once.
pub struct Bare {
    folder: SmolVlmFolder,
    vision: Session,
    embed: Session,
    decoder: Session,
    layers: usize,
    stop: Vec<u32>,
    image_token: u32,
    work: Vec<Item>,
    sequences: usize,
}

/// One picture, prepared.
struct Item {
    tiles: Tiles,
    file: Bytes,
    ids: Arc<[u32]>,
    max_tokens: usize,
}

struct Row {
    cached: usize,
    answer: Vec<u32>,
    max_tokens: usize,
}

/// Caches of one row or of a batch: per layer key and value, f32 `[rows, heads, length, dim]`.
type Caches = Vec<DynValue>;

impl Bare {
    /// Opens the sessions and prepares the pictures.
    pub fn new(workload: &Workload, images: &[Arc<Image>]) -> Self {
        let mut settings = ModelSettings::new("bare", &workload.model);
        settings.threads = workload.threads;
        let folder = SmolVlmFolder::open(&settings).expect("a model folder");
        let open = |name: &str| {
            let graph = folder.graph(name).expect("a graph");
            open_session(&graph.path, &settings.session(graph)).expect("a session")
        };
        let work = images
            .iter()
            .zip(&workload.pictures)
            .map(|(image, picture)| {
                let ids = folder.ids(image, &workload.prompt).expect("a prompt");
                Item {
                    file: picture.file.clone(),
                    tiles: folder.tiles(image),
                    ids,
                    max_tokens: picture.max_tokens as usize,
                }
            })
            .collect();
        let decoder = open("decoder_model_merged");
        Self {
            vision: open("vision_encoder"),
            embed: open("embed_tokens"),
            layers: decoder.outputs().len() - 1,
            decoder,
            stop: folder.rules().stop_tokens.clone(),
            image_token: folder.image_token(),
            work,
            folder,
            sequences: workload.sequences,
        }
    }

    /// Answers everything once. Returns the number of tokens of each answer, in order.
    pub fn run(&mut self, given: Given) -> ort::Result<Vec<usize>> {
        let mut lengths = vec![0; self.work.len()];
        let mut next = 0;
        let mut rows: Vec<(usize, Row)> = Vec::new();
        let mut caches: Caches = Vec::new();
        while next < self.work.len() || !rows.is_empty() {
            while rows.len() < self.sequences && next < self.work.len() {
                let (row, fresh) = self.prefill(next, given)?;
                match row {
                    Some(row) => {
                        let old: Vec<_> = rows.iter().enumerate().collect();
                        let keep: Vec<(usize, usize)> =
                            old.iter().map(|(at, (_, r))| (*at, r.cached)).collect();
                        caches = self.gather(&caches, &keep, Some((&fresh, row.cached)))?;
                        rows.push((next, row));
                    }
                    None => lengths[next] = 0,
                }
                next += 1;
            }
            if rows.is_empty() {
                continue;
            }
            let chosen = self.step(&rows, &mut caches)?;
            let mut ended = false;
            for ((_, row), token) in rows.iter_mut().zip(&chosen) {
                row.cached += 1;
                row.answer.push(*token);
            }
            let mut keep = Vec::new();
            for (at, (item, row)) in rows.iter().enumerate() {
                let length = answer_length(&row.answer, row.max_tokens, &self.stop);
                match length {
                    Some(length) => {
                        lengths[*item] = length;
                        ended = true;
                    }
                    None => keep.push((at, row.cached)),
                }
            }
            if ended {
                if !keep.is_empty() {
                    caches = self.gather(&caches, &keep, None)?;
                }
                let mut at = 0;
                rows.retain(|_| {
                    at += 1;
                    keep.iter().any(|(kept, _)| *kept == at - 1)
                });
                if rows.is_empty() {
                    caches.clear();
                }
            }
        }
        Ok(lengths)
    }

    /// Vision, embeddings and the first token of one picture.
    fn prefill(&mut self, item: usize, given: Given) -> ort::Result<(Option<Row>, Caches)> {
        let Item {
            tiles,
            file,
            ids,
            max_tokens,
        } = &self.work[item];
        let fresh;
        let tiles = match given {
            Given::Tiles => tiles,
            Given::Files => {
                fresh = self.folder.tiles(&decoded(file));
                &fresh
            }
        };
        let side = ((tiles.pixels.len() / tiles.count / 3) as f64).sqrt() as usize;
        let count = tiles.count;
        let pixels = Tensor::from_array(([count, 1, 3, side, side], tiles.pixels.clone()))?;
        let mask = vec![true; count * side * side];
        let mask = Tensor::from_array(([count, 1, side, side], mask))?;
        let features = self.vision.run(ort::inputs![
            "pixel_values" => pixels,
            "pixel_attention_mask" => mask,
        ])?;
        let wide: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        let input = Tensor::from_array(([1, wide.len()], wide))?;
        let embedded = self.embed.run(ort::inputs!["input_ids" => input])?;
        let (shape, data) = embedded[0].try_extract_tensor::<f32>()?;
        let hidden = shape[2] as usize;
        let mut embeds = data.to_vec();
        drop(embedded);
        let (_, data) = features[0].try_extract_tensor::<f32>()?;
        let mut feature = data.chunks(hidden);
        for (id, place) in ids.iter().zip(embeds.chunks_mut(hidden)) {
            if *id == self.image_token
                && let Some(feature) = feature.next()
            {
                place.copy_from_slice(feature);
            }
        }
        drop(features);
        let length = ids.len();
        let max_tokens = *max_tokens;
        let mut empty = Vec::new();
        for input in self.decoder.inputs() {
            if input.name().starts_with("past_key_values.") {
                let shape = input.dtype().tensor_shape().expect("a tensor");
                let shape = [1, shape[1] as usize, 0, shape[3] as usize];
                empty.push(Tensor::<f32>::new(self.decoder.allocator(), shape)?.into_dyn());
            }
        }
        let (chosen, caches) = self.decode(
            embeds,
            vec![1; length],
            (0..length as i64).collect(),
            (1, length),
            &empty,
        )?;
        let row = Row {
            cached: length,
            answer: chosen,
            max_tokens,
        };
        let ended = answer_length(&row.answer, max_tokens, &self.stop).is_some();
        Ok(((!ended).then_some(row), caches))
    }

    fn step(&mut self, rows: &[(usize, Row)], caches: &mut Caches) -> ort::Result<Vec<u32>> {
        let length = caches[0].shape()[2] as usize;
        let last: Vec<i64> = rows
            .iter()
            .map(|(_, row)| i64::from(row.answer[row.answer.len() - 1]))
            .collect();
        let input = Tensor::from_array(([rows.len(), 1], last))?;
        let embedded = self.embed.run(ort::inputs!["input_ids" => input])?;
        let embeds = embedded[0].try_extract_tensor::<f32>()?.1.to_vec();
        drop(embedded);
        let mut mask = vec![0; rows.len() * (length + 1)];
        let mut positions = Vec::new();
        for ((_, row), mask) in rows.iter().zip(mask.chunks_mut(length + 1)) {
            mask[length - row.cached..].fill(1);
            positions.push(row.cached as i64);
        }
        let old = std::mem::take(caches);
        let (chosen, grown) = self.decode(embeds, mask, positions, (rows.len(), 1), &old)?;
        *caches = grown;
        Ok(chosen)
    }

    fn decode(
        &mut self,
        embeds: Vec<f32>,
        mask: Vec<i64>,
        positions: Vec<i64>,
        (rows, new): (usize, usize),
        past: &Caches,
    ) -> ort::Result<(Vec<u32>, Caches)> {
        let hidden = embeds.len() / (rows * new);
        let total = mask.len() / rows;
        let mut inputs: Vec<(String, SessionInputValue<'_>)> = vec![
            (
                "inputs_embeds".into(),
                Tensor::from_array(([rows, new, hidden], embeds))?.into(),
            ),
            (
                "attention_mask".into(),
                Tensor::from_array(([rows, total], mask))?.into(),
            ),
            (
                "position_ids".into(),
                Tensor::from_array(([rows, new], positions))?.into(),
            ),
            (
                "num_logits_to_keep".into(),
                Tensor::from_array((Vec::<usize>::new(), vec![1i64]))?.into(),
            ),
        ];
        for (at, value) in past.iter().enumerate() {
            let kind = if at % 2 == 0 { "key" } else { "value" };
            inputs.push((format!("past_key_values.{}.{kind}", at / 2), value.into()));
        }
        let mut outputs = self.decoder.run(inputs)?;
        let logits = outputs.remove("logits").expect("logits");
        let mut caches = Vec::with_capacity(self.layers);
        for at in 0..self.layers {
            let kind = if at % 2 == 0 { "key" } else { "value" };
            let name = format!("present.{}.{kind}", at / 2);
            caches.push(outputs.remove(name).expect("a cache"));
        }
        let (shape, data) = logits.try_extract_tensor::<f32>()?;
        let vocabulary = shape[2] as usize;
        let chosen = data
            .chunks(vocabulary)
            .map(|row| argmax(row).unwrap_or(0) as u32)
            .collect();
        Ok((chosen, caches))
    }

    /// Copies rows (with how much of each is valid) into new caches, a fresh row last.
    fn gather(
        &self,
        old: &Caches,
        keep: &[(usize, usize)],
        fresh: Option<(&Caches, usize)>,
    ) -> ort::Result<Caches> {
        let fresh_length = fresh.map_or(0, |(_, length)| length);
        let length = keep
            .iter()
            .map(|k| k.1)
            .max()
            .unwrap_or(0)
            .max(fresh_length);
        let mut caches = Vec::with_capacity(self.layers);
        for layer in 0..self.layers {
            let sources = keep
                .iter()
                .map(|(row, valid)| (&old[layer], *row, *valid))
                .chain(fresh.map(|(fresh, valid)| (&fresh[layer], 0, valid)));
            let shape = match fresh {
                Some((fresh, _)) => fresh[layer].shape(),
                None => old[layer].shape(),
            };
            let (heads, dim) = (shape[1] as usize, shape[3] as usize);
            let rows = keep.len() + usize::from(fresh.is_some());
            let shape = [rows, heads, length, dim];
            let mut target = Tensor::<f32>::new(self.decoder.allocator(), shape)?;
            let (_, to) = target.extract_tensor_mut();
            for (slot, (source, row, valid)) in sources.enumerate() {
                let from_length = source.shape()[2] as usize;
                let (_, from) = source.try_extract_tensor::<f32>()?;
                for head in 0..heads {
                    let from_end = (row * heads + head + 1) * from_length * dim;
                    let to_end = (slot * heads + head + 1) * length * dim;
                    let count = valid * dim;
                    to[to_end - count..to_end].copy_from_slice(&from[from_end - count..from_end]);
                }
            }
            caches.push(target.into_dyn());
        }
        Ok(caches)
    }
}

/// How long the answer is, where it ended with its last token.
fn answer_length(answer: &[u32], max_tokens: usize, stop: &[u32]) -> Option<usize> {
    let (last, before) = answer.split_last()?;
    if stop.contains(last) {
        Some(before.len())
    } else if let Some(cut) = RepeatRule::default().cut(answer) {
        Some(cut)
    } else {
        (answer.len() >= max_tokens).then_some(answer.len())
    }
}
