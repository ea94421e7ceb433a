//! The self-check of an encoder with its decoder.

use vila2_actors::error::ModelError;

use super::{LENGTHS, compare, no_answer};
use crate::models::generation::{Embedder, Seq2Seq, logits::argmax, seq2seq::State};

/// Asks `question`, f32 `[length, hidden]`, and takes the first tokens of its answer; then asks two
/// questions of unlike length alone and together. `begin` is what every text begins with.
///
/// # Errors
/// [`ModelError::Broken`] where a token cannot be chosen, or the logits differ by more than the
/// element type explains.
pub fn seq2seq(
    model: &mut Seq2Seq,
    embedder: &mut Embedder,
    question: &[f32],
    (begin, vocabulary): (&[u32], usize),
) -> Result<(), ModelError> {
    // Any ids do; they differ, and lie inside the smallest vocabulary.
    let id = |i: usize| (i * 7 % vocabulary.clamp(1, 64)) as u32;
    let first = |model: &mut Seq2Seq, embedder: &mut Embedder, asked: &[&[f32]]| {
        let encoded = model.encode(asked)?;
        let (mut embeds, mut logits) = (Vec::new(), Vec::new());
        for _ in asked {
            embedder.append(begin, &mut embeds)?;
        }
        let state = model.begin(encoded, embeds, |_, row| logits.extend_from_slice(row))?;
        Ok::<(Vec<f32>, State), ModelError>((logits, state))
    };
    let next = |model: &mut Seq2Seq, embedder: &mut Embedder, state: &mut State, token: u32| {
        let (mut embeds, mut logits) = (Vec::new(), Vec::new());
        embedder.append(&vec![token; state.rows()], &mut embeds)?;
        model.step(state, embeds, |_, row| logits.extend_from_slice(row))?;
        Ok::<Vec<f32>, ModelError>(logits)
    };
    let (logits, mut state) = first(model, embedder, &[question])?;
    let Some(token) = argmax(&logits) else {
        return Err(no_answer(0));
    };
    let logits = next(model, embedder, &mut state, token as u32)?;
    if argmax(&logits).is_none() {
        return Err(no_answer(1));
    }
    let asked = LENGTHS.map(|length| (0..length).map(|i| id(i + length)).collect::<Vec<_>>());
    let mut embeds = [Vec::new(), Vec::new()];
    for (ids, embeds) in asked.iter().zip(&mut embeds) {
        embedder.append(ids, embeds)?;
    }
    let element = model.element();
    let [short, long] = &embeds;
    let mut alone = Vec::new();
    for one in [short, long] {
        let (logits, mut state) = first(model, embedder, &[one])?;
        alone.push([logits, next(model, embedder, &mut state, id(1))?]);
    }
    let (logits, mut state) = first(model, embedder, &[short, long])?;
    let pair = |number: usize| [&alone[0][number], &alone[1][number]];
    compare(element, "two questions", &logits, pair(0))?;
    let logits = next(model, embedder, &mut state, id(1))?;
    compare(element, "a step of two rows", &logits, pair(1))?;
    // The other way round, as beams are put in order.
    model.gather(&mut state, &[1, 0], true)?;
    let turned = next(model, embedder, &mut state, id(2))?;
    let (logits, mut state) = first(model, embedder, &[long, short])?;
    let swapped = [&alone[1][0], &alone[0][0]];
    compare(element, "two questions", &logits, swapped)?;
    next(model, embedder, &mut state, id(1))?;
    let wanted = next(model, embedder, &mut state, id(2))?;
    let rows: Vec<Vec<f32>> = (wanted.chunks(wanted.len() / 2))
        .map(<[f32]>::to_vec)
        .collect();
    compare(
        element,
        "rows put in another order",
        &turned,
        [&rows[0], &rows[1]],
    )
}
