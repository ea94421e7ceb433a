//! An encoder with its decoder: what is asked goes through the encoder once, and the decoder looks back
//! at it with every token. Inputs, types and ranks are read from the graphs.
//!
//! ```text
//! embeddings ─▶ encoder_model ─▶ states ─▶ decoder_model ─▶ logits, caches ─▶ decoder_with_past_model ─▶ …
//! ```
//!
//! The decoder comes as two graphs, as the hub has them beside the merged one. A merged graph chooses
//! between them by an `If` operator, whose f16 forms ONNX Runtime refuses.

use std::borrow::Cow;

use ort::{
    session::{Session, SessionInputValue},
    value::{DynValue, Tensor, ValueType},
};
use vila2_actors::error::ModelError;

use super::{
    decoder::last_logits,
    kv::{Cache, Element, Host, RowOf},
    layout::Layout,
    run_error,
    tensors::{append_f32, floats},
};
use crate::models::hub::{Fault, Graph};

/// The three sessions.
#[derive(Debug)]
pub struct Seq2Seq {
    encoder: Port,
    first: Port,
    next: Port,
    hidden: usize,
    /// Element type of the caches.
    element: Element,
    /// The caches that grow with every token, by the part of their name behind the prefix.
    growing: Vec<String>,
    /// Those of what was asked, which stay as they are.
    fixed: Vec<String>,
}

/// A session with what it takes.
#[derive(Debug)]
struct Port {
    session: Session,
    embeds: Element,
    /// The element type of `encoder_hidden_states`, where it takes them.
    states: Option<Element>,
    /// Name of the mask over what was asked, where it takes one.
    mask: Option<&'static str>,
    past: Vec<String>,
}

/// What was asked, gone through the encoder. `R` rows, `S` positions.
#[derive(Debug)]
pub struct Asked {
    /// f32 `[R, S, hidden]`.
    states: Vec<f32>,
    /// 0 or 1, `[R, S]`.
    mask: Vec<i64>,
    rows: usize,
    length: usize,
}

/// Where the decoder stands with some rows that are all of one length.
#[derive(Debug)]
pub struct State {
    asked: Asked,
    growing: Cache,
    fixed: Cache,
}

impl State {
    /// How many rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.asked.rows
    }
}

impl Asked {
    fn gather(&self, rows: &[usize]) -> Self {
        let width = self.states.len() / self.rows.max(1);
        let pick = |row: &usize| &self.states[row * width..(row + 1) * width];
        let mask = |row: &usize| &self.mask[row * self.length..(row + 1) * self.length];
        Self {
            states: rows.iter().flat_map(pick).copied().collect(),
            mask: rows.iter().flat_map(mask).copied().collect(),
            rows: rows.len(),
            length: self.length,
        }
    }
}

impl Port {
    /// Looks over the inputs of a graph.
    fn new(session: Session, graph: &Graph, faults: &mut Vec<Fault>) -> Option<(Self, usize)> {
        let file = graph.file();
        let mut fault = |what: String| faults.push(Fault::new(file.clone(), what));
        let (mut embeds, mut hidden, mut states, mut mask) = (None, 0, None, None);
        let mut past = Vec::new();
        for input in session.inputs() {
            let ValueType::Tensor { ty, shape, .. } = input.dtype() else {
                fault(format!("input `{}` is no tensor", input.name()));
                continue;
            };
            match input.name() {
                "inputs_embeds" => {
                    embeds = Element::of(*ty);
                    hidden = (shape.last()).map_or(0, |side| usize::try_from(*side).unwrap_or(0));
                }
                "encoder_hidden_states" => states = Element::of(*ty),
                "attention_mask" => mask = Some("attention_mask"),
                "encoder_attention_mask" => mask = Some("encoder_attention_mask"),
                name if name.starts_with("past_key_values.") => {
                    if Element::of(*ty).is_none() || shape.len() != 4 {
                        fault(format!(
                            "`{name}` is {ty:?} {:?}; wanted f32 or f16 [rows, heads, length, dim]",
                            &shape[..]
                        ));
                    }
                    past.push(name["past_key_values.".len()..].to_owned());
                }
                name => fault(format!("input `{name}` is not known to this adapter")),
            }
        }
        let Some(embeds) = embeds else {
            fault("no input `inputs_embeds`, f32 or f16 [rows, length, hidden]".to_owned());
            return None;
        };
        let port = Self {
            session,
            embeds,
            states,
            mask,
            past,
        };
        Some((port, hidden))
    }

    fn gives(&self, name: &str) -> bool {
        self.session.outputs().iter().any(|o| o.name() == name)
    }
}

impl Seq2Seq {
    /// Looks over the sessions of `encoder_model`, `decoder_model` and `decoder_with_past_model`;
    /// `hidden` is the width of an embedding where the graphs do not say it.
    ///
    /// # Errors
    /// Every fault of the graphs.
    pub fn new(sessions: [(Session, &Graph); 3], hidden: usize) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let files = [sessions[0].1, sessions[1].1, sessions[2].1].map(Graph::file);
        let [encoder, first, next] =
            sessions.map(|(session, graph)| Port::new(session, graph, &mut faults));
        let (Some((encoder, width)), Some((first, _)), Some((next, _))) = (encoder, first, next)
        else {
            return Err(faults);
        };
        if encoder.session.outputs().len() != 1 {
            let what = "it has more outputs than one, `last_hidden_state`";
            faults.push(Fault::new(files[0].clone(), what));
        }
        if first.states.is_none() || !first.past.is_empty() {
            let what = "it does not take `encoder_hidden_states` alone: it is no first run";
            faults.push(Fault::new(files[1].clone(), what));
        }
        let part = |what: &str| -> Vec<String> {
            let of = |name: &&String| name.contains(what);
            next.past.iter().filter(of).cloned().collect()
        };
        let (growing, fixed) = (part(".decoder."), part(".encoder."));
        if growing.is_empty() || growing.len() + fixed.len() != next.past.len() {
            let what = "its caches are not `past_key_values.N.decoder.*` and \
                        `past_key_values.N.encoder.*`";
            faults.push(Fault::new(files[2].clone(), what));
        }
        for (port, file, caches) in [
            (&first, &files[1], [&growing[..], &fixed].concat()),
            (&next, &files[2], growing.clone()),
        ] {
            let names = caches.iter().map(|name| format!("present.{name}"));
            for name in names.chain(["logits".to_owned()]) {
                if !port.gives(&name) {
                    faults.push(Fault::new(file.clone(), format!("no output `{name}`")));
                }
            }
        }
        let element = (next.session.inputs().iter())
            .filter(|input| input.name().starts_with("past_key_values."))
            .find_map(|input| Element::of(input.dtype().tensor_type()?));
        let hidden = if width > 0 { width } else { hidden };
        match (element, faults.is_empty()) {
            (Some(element), true) => Ok(Self {
                encoder,
                first,
                next,
                hidden,
                element,
                growing,
                fixed,
            }),
            _ => Err(faults),
        }
    }

    /// Width of an embedding.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Element type of the caches.
    #[must_use]
    pub fn element(&self) -> Element {
        self.element
    }

    /// What is asked, each f32 `[length, hidden]`, goes through the encoder together; shorter ones
    /// are padded on the right.
    ///
    /// # Errors
    /// [`ModelError::Run`].
    pub fn encode(&mut self, asked: &[&[f32]]) -> Result<Asked, ModelError> {
        let what = "an input of the encoder";
        let (rows, hidden) = (asked.len(), self.hidden);
        let length = asked.iter().map(|one| one.len() / hidden).max();
        let length = length.unwrap_or(0);
        let mut embeds = vec![0.0; rows * length * hidden];
        let mut mask = vec![0_i64; rows * length];
        let places = embeds
            .chunks_mut(length * hidden)
            .zip(mask.chunks_mut(length));
        for ((embeds, mask), one) in places.zip(asked) {
            embeds[..one.len()].copy_from_slice(one);
            mask[..one.len() / hidden].fill(1);
        }
        let port = &mut self.encoder;
        let embeds = floats(what, port.embeds, &[rows, length, hidden], embeds)?;
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = vec![("inputs_embeds", embeds.into())];
        if let Some(name) = port.mask {
            let mask = Tensor::from_array(([rows, length], mask.clone()));
            inputs.push((name, mask.map_err(run_error(what))?.into()));
        }
        let outputs = (port.session.run(inputs)).map_err(run_error("the encoder failed"))?;
        let mut states = Vec::new();
        append_f32(&outputs[0], &mut states)?;
        if states.len() != rows * length * hidden {
            return Err(ModelError::Run(format!(
                "the encoder gave {:?} for {rows} rows of {length} positions, {hidden} wide",
                &outputs[0].shape()[..]
            )));
        }
        Ok(Asked {
            states,
            mask,
            rows,
            length,
        })
    }

    /// The first run over what was asked: `embeds` f32 `[rows, new, hidden]` of the tokens that every
    /// text begins with. Gives the logits of each row's last position to `row`.
    ///
    /// # Errors
    /// [`ModelError::Run`].
    pub fn begin(
        &mut self,
        asked: Asked,
        embeds: Vec<f32>,
        mut row: impl FnMut(usize, &[f32]),
    ) -> Result<State, ModelError> {
        let new = embeds.len() / (asked.rows * self.hidden).max(1);
        let (logits, mut caches) = run(&mut self.first, &asked, embeds, self.hidden, &[])?;
        last_logits(&logits, asked.rows, &mut row)?;
        let growing = self.cache(&mut caches, &self.growing, (asked.rows, new))?;
        let fixed = self.cache(&mut caches, &self.fixed, (asked.rows, asked.length))?;
        Ok(State {
            asked,
            growing,
            fixed,
        })
    }

    /// One more token for each row: `embeds` f32 `[rows, 1, hidden]`.
    ///
    /// # Errors
    /// [`ModelError::Run`].
    pub fn step(
        &mut self,
        state: &mut State,
        embeds: Vec<f32>,
        mut row: impl FnMut(usize, &[f32]),
    ) -> Result<(), ModelError> {
        let rows = state.rows();
        let names = self.growing.iter().chain(&self.fixed);
        let values = state.growing.values.iter().chain(&state.fixed.values);
        let past: Vec<(&String, &DynValue)> = names.zip(values).collect();
        let (logits, mut caches) = run(&mut self.next, &state.asked, embeds, self.hidden, &past)?;
        last_logits(&logits, rows, &mut row)?;
        let length = state.growing.length() + 1;
        state.growing = self.cache(&mut caches, &self.growing, (rows, length))?;
        Ok(())
    }

    /// The rows named, in that order, and as often as they are named. `asked` tells whether what was
    /// asked is another one for some row; else only what grows is put in order.
    ///
    /// # Errors
    /// [`ModelError::Run`] where memory cannot be had.
    pub fn gather(&self, state: &mut State, rows: &[usize], asked: bool) -> Result<(), ModelError> {
        let memory = Host(self.next.session.allocator());
        let of = |cache: &Cache| {
            let row = |row: &usize| RowOf {
                cache,
                row: *row,
                length: cache.length(),
            };
            Cache::gather(&memory, &rows.iter().map(row).collect::<Vec<_>>())
        };
        state.growing = of(&state.growing)?;
        if asked {
            state.fixed = of(&state.fixed)?;
            state.asked = state.asked.gather(rows);
        }
        Ok(())
    }

    fn cache(
        &self,
        caches: &mut Vec<(String, DynValue)>,
        names: &[String],
        (rows, length): (usize, usize),
    ) -> Result<Cache, ModelError> {
        let mut values = Vec::with_capacity(names.len());
        for name in names {
            let at = caches.iter().position(|(given, _)| given == name);
            let at = at.ok_or_else(|| ModelError::Run(format!("no cache `{name}` was given")))?;
            values.push(caches.swap_remove(at).1);
        }
        let kind = (self.element, Layout::Right);
        Ok(Cache::from_present(values, kind, rows, length))
    }
}

/// One run of a decoder: logits, and what it gives of caches, by their names without `present.`.
#[allow(clippy::type_complexity)]
fn run(
    port: &mut Port,
    asked: &Asked,
    embeds: Vec<f32>,
    hidden: usize,
    past: &[(&String, &DynValue)],
) -> Result<(DynValue, Vec<(String, DynValue)>), ModelError> {
    let what = "an input of the decoder";
    let Asked {
        states,
        mask,
        rows,
        length,
    } = asked;
    let (rows, length) = (*rows, *length);
    let new = embeds.len() / (rows * hidden).max(1);
    let embeds = floats(what, port.embeds, &[rows, new, hidden], embeds)?;
    let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> =
        vec![("inputs_embeds".into(), embeds.into())];
    if let Some(element) = port.states {
        let states = floats(what, element, &[rows, length, hidden], states.clone())?;
        inputs.push(("encoder_hidden_states".into(), states.into()));
    }
    if let Some(name) = port.mask {
        let mask = Tensor::from_array(([rows, length], mask.clone()));
        inputs.push((name.into(), mask.map_err(run_error(what))?.into()));
    }
    for (name, value) in past {
        inputs.push((format!("past_key_values.{name}").into(), (*value).into()));
    }
    let outputs = (port.session.run(inputs)).map_err(run_error("the decoder failed"))?;
    let (mut logits, mut caches) = (None, Vec::new());
    for (name, value) in outputs {
        match name.strip_prefix("present.") {
            Some(name) => caches.push((name.to_owned(), value)),
            None if name == "logits" => logits = Some(value),
            None => {}
        }
    }
    let logits = logits.ok_or_else(|| ModelError::Run("the decoder gave no logits".into()))?;
    Ok((logits, caches))
}
