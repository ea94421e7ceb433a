//! The page of `vila2 compare`: the same pictures under two configurations, side by side, and votes
//! that do not know which is which.

use minijinja::{Environment, context};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::{
    ReportError,
    numbers::{count, ends, percent, span},
};
use crate::{
    stats::Estimate,
    trial::{
        pairs::{Comparison, Paired},
        shares::Counted,
        votes,
    },
};

/// A picture that both captioned.
#[derive(Debug)]
pub struct Pair {
    /// The place of its input among all.
    pub ordinal: u64,
    /// The record's id.
    pub id: String,
    /// Its URL.
    pub url: String,
    /// A copy as a `data:` URL.
    pub picture: Option<String>,
    /// The text of the first.
    pub a: String,
    /// The text of the second.
    pub b: String,
    /// Whether the text of the second stands on the left.
    pub turned: bool,
}

/// A picture that only one of them captioned.
#[derive(Debug, Serialize)]
pub struct Lone {
    /// Its URL.
    pub url: String,
    /// The one that captioned it.
    pub by: &'static str,
    /// Why the other did not.
    pub reason: String,
    /// What happened there.
    pub detail: String,
}

/// What the page is about.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The first configuration.
    pub a: &'a str,
    /// The second.
    pub b: &'a str,
    /// The name of the pair, as votes carry it.
    pub pair: &'a str,
    /// Pictures of the sample, and of the whole input.
    pub sample: (u64, u64),
    /// The seed of sample and sides.
    pub seed: u64,
    /// The figures.
    pub comparison: &'a Comparison,
}

/// A figure of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What it is.
    pub name: &'static str,
    /// That of the first.
    pub a: String,
    /// That of the second.
    pub b: String,
    /// Second minus first.
    pub difference: String,
    /// Its 95 % interval.
    pub interval: String,
    /// Whether the interval leaves 0 out.
    pub is_clear: bool,
    /// What it means.
    pub meaning: &'static str,
}

/// A stretch of a text.
#[derive(Serialize)]
struct Part {
    text: String,
    is_own: bool,
}

#[derive(Serialize)]
struct Card {
    ordinal: u64,
    id: String,
    url: String,
    picture: Option<String>,
    left: &'static str,
    right: &'static str,
    left_text: Vec<Part>,
    right_text: Vec<Part>,
    is_same: bool,
}

/// The figures of a comparison, for a page or a terminal.
#[must_use]
pub fn rows(comparison: &Comparison) -> Vec<Row> {
    let mut rows = Vec::new();
    let points: fn(f64) -> String = |share| format!("{:.1} points", share * 100.0);
    let mut add = |name, figure: &Option<Paired>, texts: [fn(f64) -> String; 2], meaning| {
        if let Some(figure) = figure {
            let interval = figure.difference;
            let [text, more] = texts;
            rows.push(Row {
                name,
                a: text(figure.a),
                b: text(figure.b),
                difference: signed(interval.value, more),
                interval: ends(interval, |end| signed(end, more)),
                is_clear: !interval.holds(0.0),
                meaning,
            });
        }
    };
    add(
        "words",
        &comparison.words,
        [|number| format!("{number:.1}"); 2],
        "Words of the enriched text, on average.",
    );
    add(
        "clauses with evidence",
        &comparison.grounded,
        [percent, points],
        "Clauses that a box, a line of text or a relation supports, among all clauses.",
    );
    add(
        "contradictions",
        &comparison.contradictions,
        [|number| format!("{number:.2}"); 2],
        "Statements of a caption that a specialist or the original text contradicts (disputed), on \
         average.",
    );
    add(
        "truncated",
        &comparison.truncated,
        [percent, points],
        "Captions that reached their limit of tokens (finish: length). Their unfinished last sentence \
         is not in the enriched text, which makes it shorter and may make it look better supported.",
    );
    add(
        "repeated",
        &comparison.repeated,
        [percent, points],
        "Captions that were cut because they began to repeat themselves (finish: repeat).",
    );
    add(
        "refusals",
        &comparison.refusals,
        [percent, points],
        "Captions whose text begins as a refusal does: “I'm sorry”, “I cannot” and the like.",
    );
    add(
        "captions without evidence",
        &comparison.unverified,
        [percent, points],
        "Captions of which every clause is unverified: nothing but the captioner supports any of it.",
    );
    add(
        "time a picture",
        &comparison.seconds,
        [span; 2],
        "Once the chain is full, each configuration alone on this machine, one after the other. The \
         interval is that of two separate runs, not paired: where something else kept the machine busy \
         during one of them, that shows as a difference.",
    );
    let dead = |counted: Counted| {
        let share = percent(counted.share.value);
        format!("{} ({share})", count(counted.hits as f64))
    };
    let (a, b) = (comparison.dead_a, comparison.dead_b);
    rows.push(Row {
        name: "dead letters",
        a: dead(a),
        b: dead(b),
        difference: signed(b.hits as f64 - a.hits as f64, |number| {
            format!("{number:.0}")
        }),
        interval: format!("A {}, B {}", ends(a.share, percent), ends(b.share, percent)),
        is_clear: false,
        meaning: "Pictures of the sample without a caption. The intervals are of each one's own \
                  share (Wilson).",
    });
    rows
}

fn signed(number: f64, text: impl Fn(f64) -> String) -> String {
    let body = text(number.abs());
    let is_nothing = !body.contains(|c: char| ('1'..='9').contains(&c));
    match number {
        _ if is_nothing => body,
        number if number < 0.0 => format!("−{body}"),
        _ => format!("+{body}"),
    }
}

/// Makes the page.
///
/// # Errors
/// The template does not fit the data: a bug.
pub fn render(
    subject: &Subject<'_>,
    pairs: Vec<Pair>,
    lone: &[Lone],
) -> Result<String, ReportError> {
    let mut environment = Environment::new();
    environment.add_template("compare.html", include_str!("compare.html"))?;
    let cards: Vec<_> = pairs.into_iter().map(card).collect();
    let html = environment.get_template("compare.html")?.render(context! {
        style => concat!(include_str!("page.css"), include_str!("compare.css")),
        script => include_str!("compare.js"),
        schema => votes::SCHEMA,
        a => subject.a,
        b => subject.b,
        pair => subject.pair,
        seed => subject.seed,
        sample => count(subject.sample.0 as f64),
        inputs => count(subject.sample.1 as f64),
        both => subject.comparison.both,
        only_a => subject.comparison.only_a,
        only_b => subject.comparison.only_b,
        rows => rows(subject.comparison),
        same => cards.iter().filter(|card| card.is_same).count(),
        cards,
        lone,
    })?;
    Ok(html)
}

fn card(pair: Pair) -> Card {
    let (a, b) = parts(&pair.a, &pair.b);
    let is_same = pair.a == pair.b;
    let ((left, left_text), (right, right_text)) = if pair.turned {
        (("b", b), ("a", a))
    } else {
        (("a", a), ("b", b))
    };
    Card {
        ordinal: pair.ordinal,
        id: pair.id,
        url: pair.url,
        picture: pair.picture,
        left,
        right,
        left_text,
        right_text,
        is_same,
    }
}

/// Both texts in stretches: those of their own, and those they share.
fn parts(a: &str, b: &str) -> (Vec<Part>, Vec<Part>) {
    let difference = TextDiff::from_words(a, b);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for change in difference.iter_all_changes() {
        match change.tag() {
            ChangeTag::Equal => {
                push(&mut one, change.value(), false);
                push(&mut other, change.value(), false);
            }
            ChangeTag::Delete => push(&mut one, change.value(), true),
            ChangeTag::Insert => push(&mut other, change.value(), true),
        }
    }
    (one, other)
}

fn push(parts: &mut Vec<Part>, text: &str, is_own: bool) {
    match parts.last_mut() {
        Some(last) if last.is_own == is_own => last.text.push_str(text),
        _ => parts.push(Part {
            text: text.to_owned(),
            is_own,
        }),
    }
}

/// Votes as one line: who won how often, and whether that could be chance.
#[must_use]
pub fn verdict(tally: &votes::Tally) -> String {
    let Estimate { low, high, .. } = tally.b_of_decided.share;
    let is_clear = tally.sign_test < 0.05;
    let clear = match (low > 0.5, high < 0.5) {
        (true, _) if is_clear => "B is better",
        (_, true) if is_clear => "A is better",
        _ => "either may be better",
    };
    format!(
        "A {}, B {}, ties {}; B wins {} of what was decided ({}); sign test p = {:.3}: {clear}",
        tally.a,
        tally.b,
        tally.ties,
        percent(tally.b_of_decided.share.value),
        ends(tally.b_of_decided.share, percent),
        tally.sign_test
    )
}

#[cfg(test)]
mod tests;
