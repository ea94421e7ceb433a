//! How a grounded thing is called in a sentence.

use std::collections::HashMap;

use vila2_actors::annotation::Grounding;

/// Grounding id → name with its article: `the large red circle`; where several share a phrase,
/// `the first large red circle`, `the second large red circle`, in the specialist's order.
#[derive(Debug)]
pub struct Names(HashMap<String, String>);

impl Names {
    /// Names all groundings of one image.
    pub fn of(groundings: &[Grounding]) -> Self {
        let mut shared: HashMap<String, usize> = HashMap::new();
        for grounding in groundings {
            *shared.entry(bare(&grounding.phrase)).or_default() += 1;
        }
        let mut seen: HashMap<String, usize> = HashMap::new();
        let names = groundings.iter().map(|grounding| {
            let phrase = bare(&grounding.phrase);
            let nth = seen.entry(phrase.clone()).or_default();
            *nth += 1;
            let name = if shared[&phrase] > 1 {
                format!("the {} {phrase}", ordinal(*nth))
            } else {
                format!("the {phrase}")
            };
            (grounding.id.clone(), name)
        });
        Self(names.collect())
    }

    /// The name of a grounding, if it exists.
    pub fn get(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }
}

/// The phrase without its article.
fn bare(phrase: &str) -> String {
    let phrase = phrase.trim();
    let head = phrase.split_whitespace().next().unwrap_or("");
    if ["a", "an", "the"]
        .iter()
        .any(|article| head.eq_ignore_ascii_case(article))
    {
        let rest = phrase[head.len()..].trim_start();
        if !rest.is_empty() {
            return rest.to_owned();
        }
    }
    phrase.to_owned()
}

fn ordinal(nth: usize) -> String {
    const WORDS: [&str; 9] = [
        "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
    ];
    match WORDS.get(nth.wrapping_sub(1)) {
        Some(word) => (*word).to_owned(),
        None => format!("{nth}th"),
    }
}
