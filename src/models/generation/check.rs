//! The self-check of a decoder: a batch of two must equal two batches of one, and a question must
//! have an answer.
//!
//! It tells a graph that pads on the other side, forgets the mask, or computes no numbers, before
//! it writes nonsense.

mod seq2seq;

use vila2_actors::error::ModelError;

use super::{
    Decoder, Embedder,
    kv::{Cache, Element, RowOf},
    logits::argmax,
    rules::Rules,
};

pub use seq2seq::seq2seq;

/// Lengths of the two rows.
const LENGTHS: [usize; 2] = [3, 7];

/// Where the longer of them is cut into two runs.
const CUT: usize = 4;

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
    let asked = question.len() / decoder.hidden();
    let (mut logits, mut cache) = prefill(decoder, &[question], usize::MAX)?;
    for number in 0..TOKENS {
        let Some(token) = argmax(&logits) else {
            return Err(no_answer(number));
        };
        if rules.stop_tokens.contains(&(token as u32)) {
            break;
        }
        (logits, cache) = step(decoder, embedder, &cache, &[asked + number], token as u32)?;
    }
    Ok(())
}

fn no_answer(number: usize) -> ModelError {
    ModelError::Broken(format!(
        "the decoder gives logits that are no numbers (NaN or infinite) for a question about a \
         plain picture, after {number} tokens of the answer: its weights, or its graph, are broken"
    ))
}

/// What one prompt alone gives: logits of its prefill and of two steps, and its cache before them.
struct Alone {
    embeds: Vec<f32>,
    cache: Cache,
    logits: [Vec<f32>; 3],
}

/// Runs two rows of unlike length alone and together, one prefill and two steps each, and two of
/// like length in one prefill. Then notes whether a prompt may be cut into several runs.
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
    let mut alone = |decoder: &mut Decoder, ids: Vec<u32>| -> Result<Alone, ModelError> {
        let mut embeds = Vec::new();
        embedder.append(&ids, &mut embeds)?;
        let (prefilled, cache) = prefill(decoder, &[&embeds], usize::MAX)?;
        let (first, grown) = step(decoder, embedder, &cache, &[ids.len()], id(1))?;
        let (second, _) = step(decoder, embedder, &grown, &[ids.len() + 1], id(2))?;
        Ok(Alone {
            embeds,
            cache,
            logits: [prefilled, first, second],
        })
    };
    let [short, long] = LENGTHS.map(|length| (0..length).map(|i| id(i + length)).collect());
    let other: Vec<u32> = (0..LENGTHS[1]).map(|i| id(3 * i + 2)).collect();
    let (short, long, other) = (
        alone(decoder, short)?,
        alone(decoder, long)?,
        alone(decoder, other)?,
    );
    let pair = |number: usize| [&short.logits[number], &long.logits[number]];
    if decoder.layout().pads_prompts() {
        let prompts = [short.embeds.as_slice(), &long.embeds];
        let (first, together) = prefill(decoder, &prompts, usize::MAX)?;
        same(decoder, "a prefill of two prompts", &first, pair(0))?;
        let (next, _) = step(decoder, embedder, &together, &LENGTHS, id(1))?;
        same(decoder, "a step of two rows", &next, pair(1))?;
    }
    let prompts = [other.embeds.as_slice(), &long.embeds];
    let (first, _) = prefill(decoder, &prompts, usize::MAX)?;
    let wanted = [&other.logits[0], &long.logits[0]];
    same(
        decoder,
        "a prefill of two prompts of one length",
        &first,
        wanted,
    )?;
    let rows = [(&short, LENGTHS[0]), (&long, LENGTHS[1])].map(|(alone, length)| RowOf {
        cache: &alone.cache,
        row: 0,
        length,
    });
    let joined = Cache::gather(&decoder.memory(), &rows)?;
    let (next, grown) = step(decoder, embedder, &joined, &LENGTHS, id(1))?;
    same(decoder, "a step of two joined rows", &next, pair(1))?;
    let (next, _) = step(
        decoder,
        embedder,
        &grown,
        &LENGTHS.map(|own| own + 1),
        id(2),
    )?;
    same(decoder, "a second step of two joined rows", &next, pair(2))?;
    note_whether_prompts_may_be_cut(decoder, &long);
    Ok(())
}

/// A prompt in two runs must give what it gives in one; where it does not, or the graph takes one
/// token at a time once there is a cache, prompts are never cut.
fn note_whether_prompts_may_be_cut(decoder: &mut Decoder, prompt: &Alone) {
    if decoder.keeps_last() {
        return;
    }
    let cut = prefill(decoder, &[&prompt.embeds], CUT).and_then(|(logits, _)| {
        same(
            decoder,
            "a prompt in two runs",
            &logits,
            [&prompt.logits[0]],
        )
    });
    if let Err(error) = &cut {
        tracing::debug!(%error, "prompts go through the decoder in one run each");
    }
    decoder.may_cut(cut.is_ok());
}

/// Whether the rows of `logits` are those of each alone.
fn same<const ROWS: usize>(
    decoder: &Decoder,
    what: &str,
    logits: &[f32],
    alone: [&Vec<f32>; ROWS],
) -> Result<(), ModelError> {
    let what = format!("{what} padded on the {}", decoder.layout());
    compare(decoder.element(), &what, logits, alone)
}

/// Whether the rows of `logits` are those of each alone, as far as the element type can tell.
fn compare<const ROWS: usize>(
    element: Element,
    what: &str,
    logits: &[f32],
    alone: [&Vec<f32>; ROWS],
) -> Result<(), ModelError> {
    let tolerance = match element {
        Element::F32 => 1e-3,
        Element::F16 => 3e-2,
    };
    let vocabulary = alone[0].len();
    if vocabulary == 0 || logits.len() != vocabulary * ROWS {
        return Err(ModelError::Broken(format!(
            "the decoder gives {} logits for {what}, and {vocabulary} for one row",
            logits.len()
        )));
    }
    for (row, single) in logits.chunks(vocabulary).zip(alone) {
        if argmax(row).is_none() || argmax(single).is_none() {
            return Err(ModelError::Broken(format!(
                "the decoder gives logits that are no numbers for {what}: its weights, or its \
                 graph, are broken"
            )));
        }
        // A token that the graph forbids is so in both: minus infinity from itself is no number,
        // and no difference.
        let numbers = single.iter().filter(|logit| logit.is_finite());
        let scale = numbers.fold(1.0f32, |most, v| most.max(v.abs()));
        let worst = row
            .iter()
            .zip(single)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0f32, f32::max);
        if worst > tolerance * scale {
            return Err(ModelError::Broken(format!(
                "the decoder gives other logits for {what} than for each alone: they differ by \
                 {worst} where {} is allowed",
                tolerance * scale
            )));
        }
    }
    Ok(())
}

/// One prefill in runs of at most `most` positions.
fn prefill(
    decoder: &mut Decoder,
    prompts: &[&[f32]],
    most: usize,
) -> Result<(Vec<f32>, Cache), ModelError> {
    let mut logits = Vec::new();
    let empty = decoder.empty_cache(prompts.len())?;
    let feed = decoder.layout().prompts(prompts, decoder.hidden());
    let cache = decoder.run_in_parts(feed, empty, most, |_, row| {
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
    let mut embeds = Vec::new();
    embedder.append(&vec![token; lengths.len()], &mut embeds)?;
    let feed = decoder.layout().step(embeds, lengths, cache.length());
    let mut logits = Vec::new();
    let cache = decoder.run(feed, cache, |_, row| logits.extend_from_slice(row))?;
    Ok((logits, cache))
}
