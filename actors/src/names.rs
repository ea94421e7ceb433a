//! How a grounded thing is called in a sentence.

use std::collections::HashMap;

use crate::annotation::Grounding;

/// Grounding id → name with its article: `the large red circle`; where several share a phrase,
/// `the first large red circle`, `the second large red circle`, in the specialist's order.
#[derive(Debug)]
pub struct Names(HashMap<String, String>);

impl Names {
    /// Names all groundings of one image.
    #[must_use]
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
    #[must_use]
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

/// `first` to `ninth` in words, then `10th`, `21st`; `11th` to `13th`, and so in every hundred.
fn ordinal(nth: usize) -> String {
    const WORDS: [&str; 9] = [
        "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
    ];
    if let Some(word) = WORDS.get(nth.wrapping_sub(1)) {
        return (*word).to_owned();
    }
    let ending = match (nth % 100, nth % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{nth}{ending}")
}

#[cfg(test)]
mod tests {
    use super::ordinal;

    #[test]
    fn ordinals_end_as_they_are_spoken() {
        let numbers = [
            1, 9, 10, 11, 12, 13, 20, 21, 22, 23, 24, 101, 111, 112, 113, 121,
        ];
        let written = numbers.map(ordinal);
        assert_eq!(
            written.each_ref().map(String::as_str),
            [
                "first", "ninth", "10th", "11th", "12th", "13th", "20th", "21st", "22nd", "23rd",
                "24th", "101st", "111th", "112th", "113th", "121st"
            ]
        );
    }
}
