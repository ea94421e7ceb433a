//! Caption and specialists to one text with verdicts.
//!
//! The captioner's sentences come first, word for word, as `unverified`; a last one that was cut off
//! is left out, unless there is nothing else. Then each specialist adds what it found, in plain
//! sentences: where every grounded phrase stands (`grounded`), what was read (`read`), how things
//! stand to each other (`inferred`). Every clause of a specialist names
//! the ids of its evidence, and the clauses joined by one space are the enriched text. No model is
//! asked to merge: a merge by a language model raised hallucination in the paper (arXiv
//! 2407.17453, section on specialists).

mod place;
mod sentences;
mod writing;

use vila2_actors::{
    annotation::{Clause, Finish, Merged, TextLine, Verdict},
    names::Names,
    ports::{MergeInput, Merger},
};

/// Bumped whenever the same findings give another text.
const VERSION: &str = "sentences/2";

/// The merge of the first version: sentences in a fixed order, nothing rewritten.
#[derive(Debug, Clone, Copy, Default)]
pub struct SentenceMerger;

impl Merger for SentenceMerger {
    fn merge(&self, input: MergeInput<'_>) -> Merged {
        let clauses = clauses(&input);
        let texts: Vec<&str> = clauses.iter().map(|clause| clause.text.as_str()).collect();
        Merged {
            enriched: texts.join(" "),
            clauses,
        }
    }

    fn identity(&self) -> String {
        VERSION.to_owned()
    }
}

fn clauses(input: &MergeInput<'_>) -> Vec<Clause> {
    let mut said: Vec<Clause> = sentences::split(&input.caption.text)
        .map(|text| Clause {
            text,
            verdict: Verdict::Unverified,
            evidence: Vec::new(),
        })
        .collect();
    let found = found(input);
    let cut = input.caption.finish != Finish::Stop
        && said
            .last()
            .is_some_and(|last| !sentences::is_whole(&last.text));
    if cut && said.len() + found.len() > 1 {
        said.pop();
    }
    said.extend(found);
    said
}

/// What the specialists add.
fn found(input: &MergeInput<'_>) -> Vec<Clause> {
    let names = Names::of(input.grounding);
    let mut clauses = Vec::new();
    for grounding in input.grounding {
        let Some(name) = names.get(&grounding.id) else {
            continue;
        };
        let centre = place::box_centre(grounding.bounding_box);
        clauses.push(Clause {
            text: sentences::capitalised(&format!(
                "{name} is {}.",
                place::words(centre, input.size)
            )),
            verdict: Verdict::Grounded,
            evidence: vec![grounding.id.clone()],
        });
    }
    for relation in input.spatial {
        // A relation whose ends are unknown proves nothing and is left out of the text.
        let (Some(subject), Some(object)) =
            (names.get(&relation.subject), names.get(&relation.object))
        else {
            continue;
        };
        clauses.push(Clause {
            text: sentences::capitalised(&format!(
                "{subject} is {} {object}.",
                relation.relation.words()
            )),
            verdict: Verdict::Inferred,
            evidence: vec![
                relation.id.clone(),
                relation.subject.clone(),
                relation.object.clone(),
            ],
        });
    }
    let writing = |line: &&TextLine| writing::is_writing(line, input.grounding);
    for line in input.text.iter().filter(writing) {
        let place = place::words(place::quad_centre(line.quad), input.size);
        clauses.push(Clause {
            text: format!("The text {place} reads {}.", writing::quoted(&line.text)),
            verdict: Verdict::Read,
            evidence: vec![line.id.clone()],
        });
    }
    clauses
}

#[cfg(test)]
mod tests;
