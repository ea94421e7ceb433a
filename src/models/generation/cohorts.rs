//! What runs the requests of an encoder with its decoder.
//!
//! Such a decoder counts the positions of all rows of a run by the length of their cache, and knows no
//! mask over it: rows of unlike length cannot share a run. So requests that begin together form a cohort
//! and go on together; several cohorts run side by side, one step each in turn. A new one begins as
//! soon as nothing runs, or half of what may run waits.

use std::sync::Arc;

use vila2_actors::{annotation::Finish, error::ModelError, ports::RequestId};

use super::{
    BeamRules, Embedder, Ended, Endings, Outcome, Prepared, Rules, Running, Seq2Seq,
    batch::no_numbers,
    row::Row,
    search::beam::{Advance, BeamSearch},
    seq2seq::State,
};

/// The cohorts of one model.
#[derive(Debug)]
pub struct Cohorts {
    model: Seq2Seq,
    embedder: Embedder,
    rules: Rules,
    beams: BeamRules,
    /// What every text begins with: the start token, and the token that is forced after it.
    begin: Vec<u32>,
    /// Most ids of a text, those among them.
    longest: usize,
    /// Most requests that run at once.
    at_once: usize,
    cohorts: Vec<Cohort>,
    waiting: Vec<Prepared>,
}

/// How the texts of a folder begin, and how many run at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The start token, and the token that is forced after it.
    pub begin: Vec<u32>,
    /// Most positions of the decoder.
    pub longest: usize,
    /// Most rows that run at once; one request takes as many as there are beams.
    pub rows: usize,
}

#[derive(Debug)]
struct Cohort {
    state: State,
    members: Vec<Member>,
}

/// A request; one that ended keeps its rows until the cohort is put together anew.
#[derive(Debug)]
struct Member {
    request: Option<RequestId>,
    search: Searched,
}

#[derive(Debug)]
enum Searched {
    /// One row, a token at a time.
    Row(Box<Row>),
    /// Beams.
    Beams(Box<Beams>),
}

#[derive(Debug)]
struct Beams {
    search: BeamSearch,
    endings: Option<Endings>,
    /// Tokens of the answer, at most.
    max_tokens: usize,
    /// The places of the next texts' parents; `None` before the first choice.
    parents: Option<Vec<usize>>,
}

impl Cohorts {
    /// No request runs yet.
    #[must_use]
    pub fn new(
        model: Seq2Seq,
        embedder: Embedder,
        rules: Rules,
        beams: BeamRules,
        frame: Frame,
    ) -> Self {
        Self {
            at_once: (frame.rows / beams.beams.max(1)).max(1),
            begin: frame.begin,
            longest: frame.longest,
            model,
            embedder,
            rules,
            beams,
            cohorts: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// The token embeddings.
    pub fn embedder(&mut self) -> &mut Embedder {
        &mut self.embedder
    }

    /// The model and its embeddings.
    pub fn parts(&mut self) -> (&mut Seq2Seq, &mut Embedder) {
        (&mut self.model, &mut self.embedder)
    }

    /// What every text begins with.
    #[must_use]
    pub fn begin(&self) -> &[u32] {
        &self.begin
    }

    /// Embeddings of what `rows` texts begin with.
    fn beginnings(&mut self, rows: usize) -> Result<Vec<f32>, ModelError> {
        let mut embeds = Vec::new();
        for _ in 0..rows {
            self.embedder.append(&self.begin, &mut embeds)?;
        }
        Ok(embeds)
    }

    /// Everything that waits begins as one cohort.
    fn found(&mut self, ended: &mut Vec<Outcome>) -> Result<(), ModelError> {
        let waiting = std::mem::take(&mut self.waiting);
        let asked: Vec<&[f32]> = waiting.iter().map(|one| one.embeds.as_slice()).collect();
        let asked = self.model.encode(&asked)?;
        let embeds = self.beginnings(waiting.len())?;
        let mut members: Vec<Member> = (waiting.into_iter())
            .map(|prepared| self.member(prepared))
            .collect();
        let (rules, longest) = (&self.rules, self.longest);
        let mut state = self.model.begin(asked, embeds, |at, logits| {
            let member = &mut members[at];
            match &mut member.search {
                Searched::Row(_) => member.take(logits, 0, (rules, longest), ended),
                Searched::Beams(beams) => {
                    for beam in 0..self.beams.beams {
                        beams.search.consider(beam, logits, rules);
                    }
                }
            }
        })?;
        for member in &mut members {
            member.advance(rules, self.begin.len(), ended);
        }
        // Every beam is a row of its own from here on.
        let mut rows = Vec::new();
        for (at, member) in members.iter().enumerate() {
            if member.request.is_some() {
                rows.extend(std::iter::repeat_n(at, member.rows()));
            }
        }
        members.retain(|member| member.request.is_some());
        if rows.is_empty() {
            return Ok(());
        }
        let same = rows.len() == state.rows() && rows.iter().enumerate().all(|(at, r)| at == *r);
        if !same {
            self.model.gather(&mut state, &rows, true)?;
        }
        self.cohorts.push(Cohort { state, members });
        Ok(())
    }

    fn member(&self, prepared: Prepared) -> Member {
        let Prepared {
            request,
            max_tokens,
            search,
            endings,
            ..
        } = prepared;
        let greedy = search.sampling.is_greedy() && self.beams.beams > 1;
        let search = if greedy {
            // One more than the answer: the token that ends it.
            let longest = (self.begin.len() + max_tokens + 1).min(self.longest);
            let penalties = self.rules.penalties.overruled(&search.sampling);
            Searched::Beams(Box::new(Beams {
                search: BeamSearch::new(self.beams, penalties, &self.begin, longest),
                endings,
                max_tokens,
                parents: None,
            }))
        } else {
            Searched::Row(Box::new(Row {
                request: Some(request),
                ids: self.begin.clone(),
                prompt: self.begin.len(),
                max_tokens,
                search,
                endings,
                probabilities: Vec::new(),
            }))
        };
        Member {
            request: Some(request),
            search,
        }
    }
}

impl Member {
    fn rows(&self) -> usize {
        match &self.search {
            Searched::Row(_) => 1,
            Searched::Beams(beams) => beams.search.last().count(),
        }
    }

    /// Takes in the logits of its row `at`.
    fn take(
        &mut self,
        logits: &[f32],
        at: usize,
        (rules, longest): (&Rules, usize),
        ended: &mut Vec<Outcome>,
    ) {
        let Some(request) = self.request else {
            return;
        };
        let outcome = match &mut self.search {
            Searched::Beams(beams) => {
                beams.search.consider(at, logits, rules);
                None
            }
            Searched::Row(row) => match row.choose(logits, rules) {
                None => Some(Err((request, no_numbers(row.ids.len() - row.prompt)))),
                Some(chosen) => {
                    (row.push(chosen, rules, longest)).map(|finish| Ok(row.end(request, finish)))
                }
            },
        };
        if let Some(outcome) = outcome {
            self.request = None;
            ended.push(outcome);
        }
    }

    /// Chooses among what its beams may become; a single row has chosen already.
    fn advance(&mut self, rules: &Rules, begun: usize, ended: &mut Vec<Outcome>) {
        let (Some(request), Searched::Beams(beams)) = (self.request, &mut self.search) else {
            return;
        };
        let outcome = match beams.search.advance(rules) {
            Advance::On(parents) => {
                beams.parents = Some(parents);
                return;
            }
            Advance::Broken => Err((request, no_numbers(beams.search.length() - begun))),
            Advance::Over => Ok(beams.end(request, rules, begun)),
        };
        self.request = None;
        ended.push(outcome);
    }
}

impl Beams {
    /// The answer of a search that is over.
    fn end(&mut self, request: RequestId, rules: &Rules, begun: usize) -> Ended {
        let (mut tokens, mut probabilities) = self.search.answer(begun);
        let stopped = tokens
            .last()
            .is_some_and(|last| rules.stop_tokens.contains(last));
        // A text of the greatest length may only have been forced to end.
        let forced = tokens.len() > self.max_tokens;
        let mut finish = if stopped && !forced {
            Finish::Stop
        } else {
            Finish::Length
        };
        if stopped {
            tokens.pop();
        }
        tokens.truncate(self.max_tokens);
        if let Some(cut) = rules.repeats.and_then(|rule| rule.cut(&tokens)) {
            tokens.truncate(cut);
            finish = Finish::Repeat;
        }
        probabilities.truncate(tokens.len());
        Ended {
            request,
            tokens,
            probabilities,
            finish,
            stop: (self.endings.as_ref()).map_or_else(Arc::default, Endings::texts),
        }
    }
}

impl Cohort {
    /// One token for every member that lives.
    fn step(
        &mut self,
        model: &mut Seq2Seq,
        embedder: &mut Embedder,
        (rules, longest, begun): (&Rules, usize, usize),
        ended: &mut Vec<Outcome>,
    ) -> Result<(), ModelError> {
        self.reorder(model)?;
        let (mut tokens, mut owners) = (Vec::new(), Vec::new());
        for (at, member) in self.members.iter().enumerate() {
            match &member.search {
                Searched::Row(row) => tokens.push(row.ids[row.ids.len() - 1]),
                Searched::Beams(beams) => tokens.extend(beams.search.last()),
            }
            owners.extend((0..member.rows()).map(|row| (at, row)));
        }
        let mut embeds = Vec::new();
        embedder.append(&tokens, &mut embeds)?;
        let members = &mut self.members;
        model.step(&mut self.state, embeds, |at, logits| {
            let (member, row) = owners[at];
            members[member].take(logits, row, (rules, longest), ended);
        })?;
        for member in members {
            member.advance(rules, begun, ended);
        }
        Ok(())
    }

    /// Rows in the order of the texts that were chosen; those of members that ended go once they are
    /// as many as those that live.
    fn reorder(&mut self, model: &Seq2Seq) -> Result<(), ModelError> {
        let live = |member: &Member| member.request.is_some();
        let dead: usize = (self.members.iter())
            .filter(|member| !live(member))
            .map(Member::rows)
            .sum();
        let leave = dead > 0 && 2 * dead >= self.state.rows();
        let (mut rows, mut start) = (Vec::new(), 0);
        for member in &mut self.members {
            let own = member.rows();
            let parents = match &mut member.search {
                Searched::Beams(beams) => beams.parents.take(),
                Searched::Row(_) => None,
            };
            if !(leave && member.request.is_none()) {
                match parents {
                    Some(parents) => rows.extend(parents.iter().map(|parent| start + parent)),
                    None => rows.extend(start..start + own),
                }
            }
            start += own;
        }
        if leave {
            self.members.retain(live);
        }
        let same = rows.iter().enumerate().all(|(at, row)| at == *row);
        if rows.is_empty() || (same && rows.len() == self.state.rows()) {
            return Ok(());
        }
        model.gather(&mut self.state, &rows, leave)
    }
}

impl Running for Cohorts {
    fn admit(&mut self, prepared: Prepared) -> Result<(), ModelError> {
        prepared.asks_for_tokens()?;
        self.waiting.push(prepared);
        Ok(())
    }

    fn step(&mut self) -> Result<Vec<Outcome>, ModelError> {
        let mut ended = Vec::new();
        let running = self.running() - self.waiting.len();
        if !self.waiting.is_empty() && (running == 0 || 2 * self.waiting.len() >= self.at_once) {
            self.found(&mut ended)?;
        }
        let facts = (&self.rules, self.longest, self.begin.len());
        for cohort in &mut self.cohorts {
            if cohort.members.iter().any(|member| member.request.is_some()) {
                cohort.step(&mut self.model, &mut self.embedder, facts, &mut ended)?;
            }
        }
        let lives = |cohort: &Cohort| cohort.members.iter().any(|one| one.request.is_some());
        self.cohorts.retain(lives);
        Ok(ended)
    }

    fn cancel(&mut self, request: RequestId) {
        self.waiting.retain(|one| one.request != request);
        for member in self
            .cohorts
            .iter_mut()
            .flat_map(|cohort| &mut cohort.members)
        {
            if member.request == Some(request) {
                member.request = None;
            }
        }
    }

    fn running(&self) -> usize {
        let members = self.cohorts.iter().flat_map(|cohort| &cohort.members);
        self.waiting.len() + members.filter(|member| member.request.is_some()).count()
    }

    fn rows_each(&self) -> usize {
        self.beams.beams
    }
}
