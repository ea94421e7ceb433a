//! The running batch. Requests join it between two steps and leave it when they end.
//!
//! A row that ended stays in the batch as a dead row: leaving at once would cost a copy of every
//! cache. A new request takes a dead row's slot in place where it fits, so that a join copies one
//! row; else the caches are rebuilt from the rows that live. They are also rebuilt when what dead
//! rows and padding have wasted since the last time adds up to the price of doing so.

mod join;
mod waste;

use std::{sync::Arc, time::Instant};

use vila2_actors::{annotation::Finish, error::ModelError, ports::RequestId};

use super::{
    Decoder, Embedder, Endings, Rules, Running, Search, kv::Cache, row::Row, search::Chosen,
};
use join::Group;
use waste::Waste;

/// Most rows of one prefill.
const PREFILL_ROWS: usize = 8;

/// Most bytes of logits that one prefill gives out, where the graph gives those of every position.
const PREFILL_LOGITS: usize = 64 << 20;

/// A request ready for the decoder.
#[derive(Debug)]
pub struct Prepared {
    /// The request.
    pub request: RequestId,
    /// The prompt's ids, image tokens included.
    pub prompt: Vec<u32>,
    /// f32 `[prompt.len(), hidden]`, image features in place.
    pub embeds: Vec<f32>,
    /// Upper bound of generated tokens.
    pub max_tokens: usize,
    /// How they are chosen.
    pub search: Search,
    /// Texts that end the answer besides; they are still in it.
    pub endings: Option<Endings>,
}

impl Prepared {
    /// Whether an answer may have a token at all.
    ///
    /// # Errors
    /// [`ModelError::Input`].
    pub(super) fn asks_for_tokens(&self) -> Result<(), ModelError> {
        match self.max_tokens {
            0 => Err(ModelError::Input(
                "max_tokens is 0, and a caption has at least one token: ask for more".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

/// A request that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The request.
    pub request: RequestId,
    /// What was generated, stop token excluded.
    pub tokens: Vec<u32>,
    /// How likely the model held each of them.
    pub probabilities: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
    /// Texts that end it, and may stand in it with what comes after.
    pub stop: Arc<[String]>,
}

/// How a request ended: with an answer, or with what went wrong in its row alone.
pub type Outcome = Result<Ended, (RequestId, ModelError)>;

/// Figures of a batch, for tests and benchmarks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Runs of the decoder over waiting prompts.
    pub prefills: u64,
    /// Runs of the decoder for one token each.
    pub steps: u64,
    /// Rows of those steps that lived.
    pub rows: u64,
    /// Times the caches were rebuilt.
    pub rebuilds: u64,
    /// Joins into a running batch.
    pub joins: u64,
}

/// The running batch of one decoder.
#[derive(Debug)]
pub struct Batch {
    decoder: Decoder,
    embedder: Embedder,
    rules: Rules,
    longest: usize,
    rows: Vec<Row>,
    cache: Option<Cache>,
    waiting: Vec<Prepared>,
    ended: Vec<Outcome>,
    waste: Waste,
    figures: Figures,
}

impl Running for Batch {
    fn admit(&mut self, prepared: Prepared) -> Result<(), ModelError> {
        if prepared.prompt.len() >= self.longest {
            return Err(ModelError::Input(format!(
                "the question is {} tokens, picture included, and the model has {} positions for \
                 question and answer together: shorten the prompt",
                prepared.prompt.len(),
                self.longest
            )));
        }
        prepared.asks_for_tokens()?;
        self.waiting.push(prepared);
        Ok(())
    }

    /// Prefills what waits, lets it join, and generates one token for every running row. Returns
    /// the requests that ended. A row whose logits are no numbers ends with [`ModelError::Run`], and
    /// its neighbours go on.
    fn step(&mut self) -> Result<Vec<Outcome>, ModelError> {
        self.ended.clear();
        self.prefill()?;
        self.compact()?;
        if !self.rows.is_empty() {
            self.decode()?;
        }
        Ok(std::mem::take(&mut self.ended))
    }

    fn cancel(&mut self, request: RequestId) {
        self.waiting.retain(|w| w.request != request);
        for row in &mut self.rows {
            if row.request == Some(request) {
                row.request = None;
            }
        }
    }

    fn running(&self) -> usize {
        self.waiting.len() + self.rows.iter().filter(|r| r.request.is_some()).count()
    }
}

impl Batch {
    /// An empty batch. `longest` is the most positions the model knows.
    #[must_use]
    pub fn new(decoder: Decoder, embedder: Embedder, rules: Rules, longest: usize) -> Self {
        Self {
            decoder,
            embedder,
            rules,
            longest,
            rows: Vec::new(),
            cache: None,
            waiting: Vec::new(),
            ended: Vec::new(),
            waste: Waste::default(),
            figures: Figures::default(),
        }
    }

    /// The most positions the model knows.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// What the batch has done so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// The token embeddings.
    pub fn embedder(&mut self) -> &mut Embedder {
        &mut self.embedder
    }

    /// The decoder and its embeddings.
    pub fn parts(&mut self) -> (&mut Decoder, &mut Embedder) {
        (&mut self.decoder, &mut self.embedder)
    }

    fn live(&self) -> usize {
        self.rows.iter().filter(|r| r.request.is_some()).count()
    }

    /// Prompts go through the decoder together where its layout and the memory for logits allow.
    fn prefill(&mut self) -> Result<(), ModelError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by_key(|w| std::cmp::Reverse(w.prompt.len()));
        let mut waiting = waiting.into_iter().peekable();
        let mut joining = Vec::new();
        while let Some(longest) = waiting.next() {
            let (layout, tokens) = (self.decoder.layout(), longest.prompt.len());
            let each = self.decoder.logits_bytes(tokens).max(1);
            let most = (PREFILL_LOGITS / each).clamp(1, PREFILL_ROWS);
            let mut group = vec![longest];
            while group.len() < most
                && let Some(next) = waiting.next_if(|w| layout.shares(tokens, w.prompt.len()))
            {
                group.push(next);
            }
            let (cache, rows) = self.prefill_group(group)?;
            joining.push((cache, rows));
        }
        self.join(joining)
    }

    /// One run over a group; rows that end with their first token are not in the answer, but keep
    /// their place in the cache.
    fn prefill_group(&mut self, group: Vec<Prepared>) -> Result<Group, ModelError> {
        let prompts: Vec<&[f32]> = group.iter().map(|p| p.embeds.as_slice()).collect();
        let feed = (self.decoder.layout()).prompts(&prompts, self.decoder.hidden());
        let empty = self.decoder.empty_cache(group.len())?;
        let mut first: Vec<Option<Chosen>> = vec![None; group.len()];
        let rules = &self.rules;
        let most = (self.decoder).most_positions(group.len(), PREFILL_LOGITS);
        let cache = self.decoder.run_in_parts(feed, empty, most, |at, logits| {
            let Prepared { search, prompt, .. } = &group[at];
            first[at] = search.choose(logits, prompt, rules);
        })?;
        self.figures.prefills += 1;
        let mut rows = Vec::with_capacity(group.len());
        for (at, (prepared, chosen)) in group.into_iter().zip(first).enumerate() {
            let mut row = Row {
                request: Some(prepared.request),
                prompt: prepared.prompt.len(),
                ids: prepared.prompt,
                max_tokens: prepared.max_tokens,
                search: prepared.search,
                endings: prepared.endings,
                probabilities: Vec::new(),
            };
            let Some(chosen) = chosen else {
                self.ended.push(Err((prepared.request, no_numbers(0))));
                continue;
            };
            match row.push(chosen, &self.rules, self.longest) {
                None => rows.push((at, row)),
                Some(finish) => self.ended.push(Ok(row.end(prepared.request, finish))),
            }
        }
        Ok((cache, rows))
    }

    /// Rebuilds the caches if that pays, or empties the batch where no row lives.
    fn compact(&mut self) -> Result<(), ModelError> {
        let live = self.live();
        if live == 0 {
            self.rows.clear();
            self.cache = None;
            self.waste.clear();
        } else if self.waste.due() {
            self.rebuild(Vec::new())?;
        }
        Ok(())
    }

    /// One token for every row; what dead rows would say is not looked at.
    fn decode(&mut self) -> Result<(), ModelError> {
        let started = Instant::now();
        let Some(cache) = self.cache.take() else {
            return Err(ModelError::Run("rows without a cache".to_owned()));
        };
        let (rows, length) = (self.rows.len(), cache.length());
        let mut embeds = Vec::with_capacity(rows * self.decoder.hidden());
        let (mut tokens, mut own) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let mut longest = 0;
        for row in &self.rows {
            // A dead row keeps its last token, and attends to as much as there is.
            let cached = row.cached().min(length);
            tokens.push(row.ids[row.ids.len() - 1]);
            own.push(cached);
            if row.request.is_some() {
                longest = longest.max(cached);
            }
        }
        self.embedder.append(&tokens, &mut embeds)?;
        let feed = self.decoder.layout().step(embeds, &own, length);
        let (live, rules, now) = (self.live(), &self.rules, &mut self.rows);
        let (most, ended) = (self.longest, &mut self.ended);
        let grown = self.decoder.run(feed, &cache, |at, logits| {
            let row = &mut now[at];
            let Some(request) = row.request else {
                return;
            };
            let Some(chosen) = row.choose(logits, rules) else {
                row.request = None;
                ended.push(Err((request, no_numbers(row.ids.len() - row.prompt))));
                return;
            };
            if let Some(finish) = row.push(chosen, rules, most) {
                row.request = None;
                ended.push(Ok(row.end(request, finish)));
            }
        })?;
        self.cache = Some(grown);
        self.figures.steps += 1;
        self.figures.rows += live as u64;
        let needless = length - longest;
        self.waste
            .step(started.elapsed(), (rows - live, rows), (needless, length));
        Ok(())
    }
}

/// The error of a row that cannot go on after so many tokens of its answer.
pub(super) fn no_numbers(tokens: usize) -> ModelError {
    ModelError::Run(format!(
        "the decoder gave logits that are no numbers (NaN or infinite) after {tokens} tokens of \
         the answer"
    ))
}
