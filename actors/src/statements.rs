//! Reads relations between things out of prose: `The red ring is left of the star.`
//!
//! Nothing is invented: a statement counts where it names two different things of the picture, each
//! beyond doubt, and one relation of the closed list between them. What is denied, asked, guessed or
//! not understood is skipped and counted.

use std::ops::Range;

use crate::{
    annotation::{Grounding, Relation},
    boxes::center,
    names::Names,
};

/// What a text says of things.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statements {
    /// Relations, in order of the text.
    pub stated: Vec<Stated>,
    /// Parts of the text with the words of a relation that state none.
    pub skipped: usize,
}

/// A relation that a text states.
#[derive(Debug, Clone, PartialEq)]
pub struct Stated {
    /// Grounding id.
    pub subject: String,
    /// The relation.
    pub relation: Relation,
    /// Grounding id.
    pub object: String,
    /// Where it stands in the text, in bytes.
    pub stretch: Range<usize>,
}

/// How relations are written; of those that begin alike, the longest first.
const WRITTEN: [(&str, Relation); 24] = [
    ("to the left side of", Relation::LeftOf),
    ("on the left side of", Relation::LeftOf),
    ("to the left of", Relation::LeftOf),
    ("on the left of", Relation::LeftOf),
    ("left of", Relation::LeftOf),
    ("to the right side of", Relation::RightOf),
    ("on the right side of", Relation::RightOf),
    ("to the right of", Relation::RightOf),
    ("on the right of", Relation::RightOf),
    ("right of", Relation::RightOf),
    ("above", Relation::Above),
    ("below", Relation::Below),
    ("beneath", Relation::Below),
    ("underneath", Relation::Below),
    ("in front of", Relation::InFrontOf),
    ("behind", Relation::Behind),
    ("inside of", Relation::Inside),
    ("inside", Relation::Inside),
    ("on top of", Relation::On),
    ("on", Relation::On),
    ("next to", Relation::Near),
    ("close to", Relation::Near),
    ("beside", Relation::Near),
    ("near", Relation::Near),
];

/// Words that make a statement none, or none that is certain.
const DOUBT: [&str; 15] = [
    "not", "no", "never", "neither", "nor", "without", "if", "or", "may", "might", "could",
    "possibly", "perhaps", "maybe", "probably",
];

/// What may stand between a subject and its relation.
const BETWEEN: [&str; 24] = [
    "is",
    "are",
    "was",
    "were",
    "be",
    "sits",
    "stands",
    "lies",
    "sitting",
    "standing",
    "lying",
    "located",
    "positioned",
    "placed",
    "situated",
    "seen",
    "visible",
    "which",
    "that",
    "directly",
    "slightly",
    "just",
    "immediately",
    "appears",
];

/// What may stand before a subject.
const BEFORE: [&str; 9] = [
    "there", "is", "are", "a", "an", "the", "then", "also", "here",
];

/// What may follow an object.
const AFTER: [&str; 12] = [
    "in", "with", "at", "on", "which", "that", "from", "near", "as", "of", "to", "while",
];

/// Reads what a text says of these things. A relation that their boxes rule out (left, right, above,
/// below, by their centres) is skipped.
#[must_use]
pub fn parse(text: &str, things: &[Grounding]) -> Statements {
    let names = Named::new(things);
    let mut found = Statements::default();
    for sentence in sentences(text) {
        // Who the last part was about: `A is left of B and above C`.
        let mut about: Option<usize> = None;
        let is_doubtful = text[sentence.clone()].ends_with('?')
            || words(text, sentence.clone())
                .any(|(word, _)| DOUBT.contains(&word.as_str()) || word.ends_with("n't"));
        for part in parts(text, sentence) {
            let spoken: Vec<_> = words(text, part).collect();
            let relations = relations(&spoken);
            let [(relation, range)] = relations.as_slice() else {
                if relations.is_empty() {
                    about = names.whole(&spoken).or(about);
                } else {
                    found.skipped += 1;
                }
                continue;
            };
            let (before, after) = (&spoken[..range.start], &spoken[range.end..]);
            let subject = if only(before, &BETWEEN) {
                about
            } else {
                names.subject(before)
            };
            about = subject;
            let stated = (subject.zip(names.object(after)))
                .filter(|(subject, object)| subject != object && !is_doubtful)
                .filter(|&(subject, object)| may_be(*relation, &things[subject], &things[object]));
            match stated {
                Some((subject, object)) => found.stated.push(Stated {
                    subject: things[subject].id.clone(),
                    relation: *relation,
                    object: things[object].id.clone(),
                    stretch: spoken[0].1.start..spoken[spoken.len() - 1].1.end,
                }),
                None => found.skipped += 1,
            }
        }
    }
    found
}

/// A word in lower case without what surrounds it, and where it stands.
type Word = (String, Range<usize>);

/// Stretches that end with a full stop, a line or the like.
fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut sentences = Vec::new();
    let mut start = 0;
    for (at, sign) in text.char_indices() {
        let end = at + sign.len_utf8();
        let next = text[end..].chars().next();
        let is_end = match sign {
            '\n' | ';' => true,
            // A full stop inside a number or a name is not the end of a sentence.
            '.' | '!' | '?' => next.is_none_or(char::is_whitespace),
            _ => false,
        };
        if is_end {
            sentences.push(start..end);
            start = end;
        }
    }
    sentences.push(start..text.len());
    sentences
}

/// A sentence at its commas and its `and`.
fn parts(text: &str, sentence: Range<usize>) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = sentence.start;
    for (word, place) in words(text, sentence.clone()) {
        if word == "and" {
            parts.push(start..place.start);
            start = place.end;
        } else if text[place.end..].starts_with(',') {
            parts.push(start..place.end);
            start = place.end;
        }
    }
    parts.push(start..sentence.end);
    parts
}

fn words(text: &str, within: Range<usize>) -> impl Iterator<Item = Word> {
    let is_edge = |c: char| !c.is_alphanumeric();
    let stretch = &text[within.clone()];
    stretch.split_whitespace().filter_map(move |word| {
        let at = within.start + (word.as_ptr() as usize - stretch.as_ptr() as usize);
        let bare = word.trim_start_matches(is_edge);
        let start = at + word.len() - bare.len();
        let bare = bare.trim_end_matches(is_edge);
        let spoken = bare.to_lowercase().replace('\u{2019}', "'");
        (!bare.is_empty()).then(|| (spoken, start..start + bare.len()))
    })
}

/// Relations in words that follow each other, and which words they are.
fn relations(spoken: &[Word]) -> Vec<(Relation, Range<usize>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < spoken.len() {
        let written = WRITTEN.iter().find(|(written, _)| {
            let mut rest = spoken[at..].iter();
            (written.split(' ')).all(|word| rest.next().is_some_and(|(spoken, _)| spoken == word))
        });
        if let Some((written, relation)) = written {
            let end = at + written.split(' ').count();
            found.push((*relation, at..end));
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

fn only(spoken: &[Word], words: &[&str]) -> bool {
    spoken
        .iter()
        .all(|(word, _)| words.contains(&word.as_str()))
}

/// Whether the boxes do not say the opposite.
fn may_be(relation: Relation, subject: &Grounding, object: &Grounding) -> bool {
    let ([x, y], [other_x, other_y]) = (
        center(&subject.bounding_box.0),
        center(&object.bounding_box.0),
    );
    match relation {
        Relation::LeftOf => x < other_x,
        Relation::RightOf => x > other_x,
        Relation::Above => y < other_y,
        Relation::Below => y > other_y,
        Relation::InFrontOf
        | Relation::Behind
        | Relation::Inside
        | Relation::On
        | Relation::Near => true,
    }
}

/// The things by the words of their names.
struct Named(Vec<Vec<String>>);

impl Named {
    fn new(things: &[Grounding]) -> Self {
        let names = Names::of(things);
        let words_of = |thing: &Grounding| {
            let name = names.get(&thing.id).unwrap_or_default();
            // The first word is the article that every name has.
            let spoken = words(name, 0..name.len()).skip(1);
            spoken.map(|(word, _)| word).collect()
        };
        Self(things.iter().map(words_of).collect())
    }

    /// The one thing that these words name: all of its name's words, in their order, or some of them
    /// with the last one, where nothing else can be meant.
    fn one(&self, spoken: &[&str]) -> Option<usize> {
        let last = spoken.last()?;
        let means = |name: &Vec<String>| {
            let mut rest = name.iter();
            name.last().is_some_and(|own| own == last)
                && spoken.iter().all(|word| rest.any(|own| own == word))
        };
        let whole = |name: &Vec<String>| name.iter().eq(spoken.iter());
        let mut exact = self.0.iter().enumerate().filter(|(_, name)| whole(name));
        if let (Some((at, _)), None) = (exact.next(), exact.next()) {
            return Some(at);
        }
        let mut loose = self.0.iter().enumerate().filter(|(_, name)| means(name));
        match (loose.next(), loose.next()) {
            (Some((at, _)), None) => Some(at),
            _ => None,
        }
    }

    /// Words that name a thing and say nothing else.
    fn whole(&self, spoken: &[Word]) -> Option<usize> {
        let spoken: Vec<&str> = (spoken.iter().map(|(word, _)| word.as_str()))
            .skip_while(|word| BEFORE.contains(word))
            .collect();
        self.one(&spoken)
    }

    /// The thing that stands before a relation.
    fn subject(&self, spoken: &[Word]) -> Option<usize> {
        let end = spoken
            .iter()
            .rposition(|(word, _)| !BETWEEN.contains(&word.as_str()))?;
        self.whole(&spoken[..=end])
    }

    /// The thing that stands after a relation: the longest name there is.
    fn object(&self, spoken: &[Word]) -> Option<usize> {
        let spoken: Vec<&str> = (spoken.iter().map(|(word, _)| word.as_str()))
            .skip_while(|word| BEFORE.contains(word))
            .collect();
        (1..=spoken.len()).rev().find_map(|end| {
            let is_end = spoken.get(end).is_none_or(|next| AFTER.contains(next));
            self.one(&spoken[..end]).filter(|_| is_end)
        })
    }
}

#[cfg(test)]
mod tests;
