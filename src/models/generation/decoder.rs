//! The decoder session. Which inputs it has, their types and ranks, is read from the graph.

use std::borrow::Cow;

use half::f16;
use ort::{
    session::{Session, SessionInputValue},
    value::TensorElementType,
    value::{DynValue, Tensor, ValueType},
};
use vila2_actors::error::ModelError;

use super::{
    kv::{Cache, Element, Host, Memory},
    layout::{Feed, Layout},
    run_error,
    tensors::floats,
};
use crate::models::hub::{Fault, Graph, Values};

/// A decoder graph with its session.
#[derive(Debug)]
pub struct Decoder {
    session: Session,
    element: Element,
    /// Name, heads and dim of each `past_key_values.*` input.
    past: Vec<(String, (usize, usize))>,
    /// For each output of the graph: which cache tensor it is; `None` for anything else.
    present: Vec<Option<usize>>,
    embeds: Element,
    hidden: usize,
    mask: bool,
    positions: bool,
    keep: Option<usize>,
    branch: bool,
    layout: Layout,
    /// Length of a row of logits; 0 where the graph does not say and has not run.
    vocabulary: usize,
    /// Whether a prompt may go through the graph in several runs.
    cuts: bool,
}

/// What `config.json` says of the sides that a graph may leave unnamed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TextSides {
    /// Width of an embedding.
    pub hidden: Option<usize>,
    /// Heads of a key or value.
    pub heads: Option<usize>,
    /// Width of one of them.
    pub dim: Option<usize>,
}

impl TextSides {
    /// Reads them from a `text_config`.
    pub fn read(text: &mut Values<'_>) -> Self {
        let mut number = |key: &str| text.whole(key, 1..=u64::from(u32::MAX));
        let (hidden, heads) = (number("hidden_size"), number("num_attention_heads"));
        let split = || Some(hidden? / heads?);
        Self {
            hidden,
            heads: number("num_key_value_heads").or(heads),
            dim: number("head_dim").or_else(split),
        }
    }
}

impl Decoder {
    /// Looks over the inputs and outputs of a decoder session; `sides` are for those that the graph
    /// gives a name and no number.
    ///
    /// # Errors
    /// Every fault of the graph.
    pub fn new(session: Session, graph: &Graph, sides: TextSides) -> Result<Self, Vec<Fault>> {
        let file = graph.file();
        let mut faults = Vec::new();
        let mut fault = |what: String| faults.push(Fault::new(file.clone(), what));
        let known = |side: i64, otherwise: Option<usize>| match usize::try_from(side) {
            Ok(side) => side,
            Err(_) => otherwise.unwrap_or(0),
        };
        let mut past = Vec::new();
        let mut element = None;
        let (mut embeds, mut hidden) = (None, 0);
        let (mut mask, mut positions, mut keep, mut branch) = (false, false, None, false);
        for input in session.inputs() {
            let (kind, shape) = match input.dtype() {
                ValueType::Tensor { ty, shape, .. } => (*ty, shape),
                _ => {
                    fault(format!("input `{}` is no tensor", input.name()));
                    continue;
                }
            };
            match input.name() {
                "inputs_embeds" => {
                    embeds = Element::of(kind);
                    hidden = shape.last().map_or(0, |side| known(*side, sides.hidden));
                }
                "attention_mask" => mask = true,
                "position_ids" if shape.len() == 2 => positions = true,
                "position_ids" => fault(format!(
                    "`position_ids` has {} dimensions; this adapter feeds 2",
                    shape.len()
                )),
                "num_logits_to_keep" => keep = Some(shape.len()),
                "use_cache_branch" => branch = true,
                name if name.starts_with("past_key_values.") => {
                    let of = Element::of(kind);
                    let shape_of = match shape[..] {
                        [_, heads, _, dim] => (known(heads, sides.heads), known(dim, sides.dim)),
                        _ => (0, 0),
                    };
                    match (of, shape_of) {
                        (Some(of), (heads, dim)) if heads > 0 && dim > 0 => {
                            let same = *element.get_or_insert(of) == of;
                            if !same {
                                fault(format!("`{name}` differs in type from the other caches"));
                            }
                            past.push((name.to_owned(), (heads, dim)));
                        }
                        _ => fault(format!(
                            "`{name}` is {kind:?} {:?}; wanted f32 or f16 [rows, heads, length, \
                             dim] with heads and dim known, here or in config.json",
                            &shape[..]
                        )),
                    }
                }
                name => fault(format!("input `{name}` is not known to this adapter")),
            }
        }
        if embeds.is_none() || hidden == 0 {
            fault("no input `inputs_embeds`, f32 or f16 [rows, length, hidden]".to_owned());
        }
        if !mask {
            fault("no input `attention_mask`: rows of unlike length cannot share it".to_owned());
        }
        if past.is_empty() {
            fault("no inputs `past_key_values.*`".to_owned());
        }
        let logits = session.outputs().iter().find(|o| o.name() == "logits");
        if logits.is_none() {
            fault("no output `logits`".to_owned());
        }
        let vocabulary = logits
            .and_then(|output| output.dtype().tensor_shape()?.last().copied())
            .map_or(0, |side| known(side, None));
        let present: Vec<Option<usize>> = session
            .outputs()
            .iter()
            .map(|output| {
                let layer = output.name().strip_prefix("present.")?;
                past.iter()
                    .position(|(name, _)| name.strip_prefix("past_key_values.") == Some(layer))
            })
            .collect();
        if present.iter().flatten().count() != past.len() {
            fault("the outputs `present.*` do not match the inputs `past_key_values.*`".to_owned());
        }
        match (element, embeds, faults.is_empty()) {
            (Some(element), Some(embeds), true) => Ok(Self {
                session,
                element,
                past,
                present,
                embeds,
                hidden,
                mask,
                positions,
                keep,
                branch,
                layout: Layout::of(graph.group_query_attention),
                vocabulary,
                cuts: false,
            }),
            _ => Err(faults),
        }
    }

    /// Width of an embedding.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// On which side its batches are padded.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether the graph computes the logits of the last position alone.
    #[must_use]
    pub fn keeps_last(&self) -> bool {
        self.keep.is_some()
    }

    /// Whether prompts may go through the graph in several runs.
    pub(super) fn may_cut(&mut self, cuts: bool) {
        self.cuts = cuts;
    }

    /// The most positions of one run of `rows` rows whose logits take no more than `bytes`; all
    /// where only the last are computed, or where prompts cannot be cut.
    pub(super) fn most_positions(&self, rows: usize, bytes: usize) -> usize {
        if self.keep.is_some() || !self.cuts || rows != 1 {
            return usize::MAX;
        }
        (bytes / self.logits_bytes(1).max(1)).max(1)
    }

    /// Bytes of the logits that a run over `positions` positions gives out.
    pub(super) fn logits_bytes(&self, positions: usize) -> usize {
        let positions = if self.keep.is_some() { 1 } else { positions };
        positions * self.vocabulary * size_of::<f32>()
    }

    /// Element type of the caches.
    #[must_use]
    pub fn element(&self) -> Element {
        self.element
    }

    /// Where its caches lie: what the session frees, the next step takes again.
    #[must_use]
    pub fn memory(&self) -> impl Memory + '_ {
        Host(self.session.allocator())
    }

    /// A cache of no positions, for the first run of `rows` rows.
    ///
    /// # Errors
    /// [`ModelError::Run`] where it cannot be allocated.
    pub fn empty_cache(&self, rows: usize) -> Result<Cache, ModelError> {
        let shapes: Vec<(usize, usize)> = self.past.iter().map(|(_, shape)| *shape).collect();
        let kind = (self.element, self.layout);
        Cache::empty(&self.memory(), kind, rows, &shapes)
    }

    /// A first run, of a row alone in several of at most `most` positions each: no more logits than
    /// those lie in memory. Otherwise as [`Decoder::run`].
    ///
    /// # Errors
    /// [`ModelError::Run`].
    pub fn run_in_parts(
        &mut self,
        feed: Feed,
        empty: Cache,
        most: usize,
        row: impl FnMut(usize, &[f32]),
    ) -> Result<Cache, ModelError> {
        if feed.rows != 1 || feed.new <= most {
            return self.run(feed, &empty, row);
        }
        let mut cache = empty;
        let mut start = 0;
        while feed.new - start > most {
            let part = feed.part(start..start + most, self.hidden);
            cache = self.run(part, &cache, |_, _| {})?;
            start += most;
        }
        self.run(feed.part(start..feed.new, self.hidden), &cache, row)
    }

    /// One run. Gives the logits of each row's last position to `row` (with the row's index; f32,
    /// as long as the vocabulary), and returns the grown cache.
    ///
    /// # Errors
    /// [`ModelError::Run`].
    pub fn run(
        &mut self,
        feed: Feed,
        cache: &Cache,
        mut row: impl FnMut(usize, &[f32]),
    ) -> Result<Cache, ModelError> {
        let Feed {
            embeds,
            mask,
            positions,
            rows,
            new,
        } = feed;
        let total = cache.length() + new;
        let unfit = run_error("an input of the decoder");
        let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> =
            Vec::with_capacity(self.past.len() + 5);
        let shape = [rows, new, self.hidden];
        let embeds = floats("an input of the decoder", self.embeds, &shape, embeds)?;
        inputs.push(("inputs_embeds".into(), embeds.into()));
        if self.mask {
            let mask = Tensor::from_array(([rows, total], mask)).map_err(&unfit)?;
            inputs.push(("attention_mask".into(), mask.into()));
        }
        if self.positions {
            let positions = Tensor::from_array(([rows, new], positions)).map_err(&unfit)?;
            inputs.push(("position_ids".into(), positions.into()));
        }
        if let Some(rank) = self.keep {
            let keep = Tensor::from_array((vec![1usize; rank], vec![1i64])).map_err(&unfit)?;
            inputs.push(("num_logits_to_keep".into(), keep.into()));
        }
        if self.branch {
            let branch =
                Tensor::from_array(([1usize], vec![cache.length() > 0])).map_err(&unfit)?;
            inputs.push(("use_cache_branch".into(), branch.into()));
        }
        for ((name, _), value) in self.past.iter().zip(&cache.values) {
            inputs.push((name.as_str().into(), value.into()));
        }
        let outputs = self
            .session
            .run(inputs)
            .map_err(run_error("the decoder failed"))?;
        let mut present: Vec<Option<DynValue>> = self.past.iter().map(|_| None).collect();
        let mut logits = None;
        for (at, (name, value)) in outputs.into_iter().enumerate() {
            match self.present.get(at) {
                Some(Some(layer)) => present[*layer] = Some(value),
                _ if name == "logits" => logits = Some(value),
                _ => {}
            }
        }
        let logits = logits.ok_or_else(|| ModelError::Run("the decoder gave no logits".into()))?;
        self.vocabulary = last_logits(&logits, rows, &mut row)?;
        let values = present
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| ModelError::Run("the decoder gave no cache".into()))?;
        let kind = (self.element, self.layout);
        Ok(Cache::from_present(values, kind, rows, total))
    }
}

/// Logits `[rows, kept, vocabulary]`: the last kept position of each row. Returns the vocabulary.
pub(super) fn last_logits(
    logits: &DynValue,
    rows: usize,
    row: &mut impl FnMut(usize, &[f32]),
) -> Result<usize, ModelError> {
    let [batch, kept, vocabulary] = logits.shape()[..] else {
        return Err(ModelError::Run(format!(
            "logits of shape {:?}; wanted [rows, length, vocabulary]",
            &logits.shape()[..]
        )));
    };
    let (kept, vocabulary) = (kept as usize, vocabulary as usize);
    if batch as usize != rows || kept == 0 || vocabulary == 0 {
        return Err(ModelError::Run(format!(
            "logits of shape {:?} for {rows} rows",
            &logits.shape()[..]
        )));
    }
    let last = |at: usize| ((at + 1) * kept - 1) * vocabulary;
    let unreadable = run_error("the logits cannot be read");
    if *logits.data_type() == TensorElementType::Float16 {
        let (_, data) = logits.try_extract_tensor::<f16>().map_err(unreadable)?;
        let mut wide = vec![0.0; vocabulary];
        for at in 0..rows {
            let narrow = &data[last(at)..last(at) + vocabulary];
            for (to, from) in wide.iter_mut().zip(narrow) {
                *to = from.to_f32();
            }
            row(at, &wide);
        }
    } else {
        let (_, data) = logits.try_extract_tensor::<f32>().map_err(unreadable)?;
        for at in 0..rows {
            row(at, &data[last(at)..last(at) + vocabulary]);
        }
    }
    Ok(vocabulary)
}
