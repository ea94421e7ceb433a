//! The self-check of a decoder: a batch of two must equal two batches of one, and a question must
//! have an answer.
//!
//! It tells a graph that pads on the other side, forgets the mask, or computes no numbers, before
//! it writes nonsense.

use vila2_actors::error::ModelError;

use super::{
    Decoder, Embedder,
    batch::padded,
    cache::{Cache, Element, RowOf},
    decoder::Feed,
    logits::argmax,
    rules::Rules,
};

/// Lengths of the two rows.
const LENGTHS: [usize; 2] = [3, 7];

/// Tokens of the answer to the question.
const TOKENS: usize = 4;

/// Asks a question, f32 `[length, hidden]`, and takes the first few tokens of its answer.
///
/// # Errors
/// [`ModelError::Broken`] where one of them cannot be chosen.
pub fn answers(
    decoder: &mut Decoder,
    embedder: &mut Embedder,
    question: &[f32],
    rules: &Rules,
) -> Result<(), ModelError> {
    let hidden = decoder.hidden();
    let asked = question.len() / hidden;
    let (mut logits, mut cache) = prefill(decoder, &[question], hidden)?;
    for number in 0..TOKENS {
        let Some(token) = argmax(&logits) else {
            return Err(ModelError::Broken(format!(
                "the decoder gives logits that are no numbers (NaN or infinite) for a question \
                 about a plain picture, after {number} tokens of the answer: its weights, or its \
                 graph, are broken"
            )));
        };
        if rules.stop_tokens.contains(&(token as u32)) {
            break;
        }
        (logits, cache) = step(decoder, embedder, &cache, &[asked + number], token as u32)?;
    }
    Ok(())
}

/// Runs two rows of unlike length alone and together, one prefill and one step each.
///
/// # Errors
/// [`ModelError::Broken`] where the logits differ by more than the element type explains.
pub fn check(
    decoder: &mut Decoder,
    embedder: &mut Embedder,
    vocabulary: usize,
) -> Result<(), ModelError> {
    // Any ids do; they differ, and lie inside the smallest vocabulary.
    let id = |i: usize| (i * 7 % vocabulary.clamp(1, 64)) as u32;
    let hidden = decoder.hidden();
    let mut alone = Vec::new();
    let mut prompts = Vec::new();
    let mut caches = Vec::new();
    for length in LENGTHS {
        let ids: Vec<u32> = (0..length).map(|i| id(i + length)).collect();
        let mut embeds = Vec::new();
        embedder.append(&ids, &mut embeds)?;
        let (first, cache) = prefill(decoder, &[&embeds], hidden)?;
        let (second, _) = step(decoder, embedder, &cache, &[length], id(1))?;
        alone.extend([first, second]);
        prompts.push(embeds);
        caches.push(cache);
    }
    let prompts: Vec<&[f32]> = prompts.iter().map(Vec::as_slice).collect();
    let (first, together) = prefill(decoder, &prompts, hidden)?;
    let (second, _) = step(decoder, embedder, &together, &LENGTHS, id(1))?;
    let rows: Vec<RowOf<'_>> = caches
        .iter()
        .zip(LENGTHS)
        .map(|(cache, length)| RowOf {
            cache,
            row: 0,
            length,
        })
        .collect();
    let joined = Cache::gather(decoder.allocator(), &rows)?;
    let (third, _) = step(decoder, embedder, &joined, &LENGTHS, id(1))?;
    let tolerance = match decoder.element() {
        Element::F32 => 1e-3,
        Element::F16 => 3e-2,
    };
    let vocabulary = alone[0].len();
    for (what, logits, single) in [
        ("a prefill of two prompts", first, [&alone[0], &alone[2]]),
        ("a step of two rows", second, [&alone[1], &alone[3]]),
        ("a step of two joined rows", third, [&alone[1], &alone[3]]),
    ] {
        for (row, single) in logits.chunks(vocabulary).zip(single) {
            if argmax(row).is_none() || argmax(single).is_none() {
                return Err(ModelError::Broken(format!(
                    "the decoder gives logits that are no numbers for {what}: its weights, or its \
                     graph, are broken"
                )));
            }
            // A token that the graph forbids is so in both: minus infinity from itself is no
            // number, and no difference.
            let numbers = single.iter().filter(|logit| logit.is_finite());
            let scale = numbers.fold(1.0f32, |most, v| most.max(v.abs()));
            let worst = row
                .iter()
                .zip(single)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0f32, f32::max);
            if worst > tolerance * scale {
                return Err(ModelError::Broken(format!(
                    "the decoder gives other logits for {what} padded on the left than for each \
                     alone: they differ by {worst} where {} is allowed",
                    tolerance * scale
                )));
            }
        }
    }
    Ok(())
}

fn prefill(
    decoder: &mut Decoder,
    prompts: &[&[f32]],
    hidden: usize,
) -> Result<(Vec<f32>, Cache), ModelError> {
    let mut logits = Vec::new();
    let empty = decoder.empty_cache(prompts.len())?;
    let cache = decoder.run(padded(prompts, hidden), &empty, |_, row| {
        logits.extend_from_slice(row);
    })?;
    Ok((logits, cache))
}

fn step(
    decoder: &mut Decoder,
    embedder: &mut Embedder,
    cache: &Cache,
    lengths: &[usize],
    token: u32,
) -> Result<(Vec<f32>, Cache), ModelError> {
    let (rows, length) = (lengths.len(), cache.length());
    let mut embeds = Vec::new();
    embedder.append(&vec![token; rows], &mut embeds)?;
    let mut mask = vec![0; rows * (length + 1)];
    for (mask, own) in mask.chunks_mut(length + 1).zip(lengths) {
        mask[length - own..].fill(1);
    }
    let feed = Feed {
        embeds,
        mask,
        positions: lengths.iter().map(|l| *l as i64).collect(),
        rows,
        new: 1,
    };
    let mut logits = Vec::new();
    let cache = decoder.run(feed, cache, |_, row| logits.extend_from_slice(row))?;
    Ok((logits, cache))
}
