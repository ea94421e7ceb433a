//! Variants of a graph: the same network in other number formats, told apart by the file's suffix.

use std::collections::{BTreeMap, BTreeSet};

/// The word for graphs without a suffix.
pub(in crate::models) const FULL: &str = "fp32";

/// The suffixes taken first where none is asked for, after full precision; any other that is there
/// follows, by name. `quantized` is how transformers.js names its `q8`.
const ORDER: [&str; 7] = ["", "fp16", "q8", "int8", "quantized", "uint8", "q4"];

/// Which variant of the graphs is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Variant {
    /// None: full precision, else `fp16`, 8 bits, `q4`, else the first there is; graph by graph.
    #[default]
    First,
    /// The same for all.
    All(String),
    /// By graph; the others have the first there is.
    Each(BTreeMap<String, String>),
}

impl Variant {
    /// One for all, or none.
    #[must_use]
    pub fn all(word: Option<&str>) -> Self {
        word.map_or(Self::First, |word| Self::All(word.to_owned()))
    }
}

/// The suffix that stands for a variant: none for full precision.
pub(in crate::models) fn suffix(word: &str) -> &str {
    if word == FULL { "" } else { word }
}

/// The word for a suffix.
pub(in crate::models) fn word(suffix: &str) -> &str {
    if suffix.is_empty() { FULL } else { suffix }
}

/// The words for several suffixes, in the order in which they are taken.
pub(in crate::models) fn words<'a>(suffixes: impl IntoIterator<Item = &'a str>) -> String {
    let mut suffixes: Vec<&str> = suffixes.into_iter().collect();
    suffixes.sort_by_key(|suffix| (place(suffix), *suffix));
    suffixes.dedup();
    let words: Vec<&str> = suffixes.into_iter().map(word).collect();
    words.join(", ")
}

/// Whether the end of a file's name is a number format (`q8f16`, `bnb4`, `quantized`), and not a
/// part of a graph's name (`merged`, `encoder`).
pub(in crate::models) fn is_suffix(word: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let number = word.contains(|c: char| c.is_ascii_digit());
    word == "quantized"
        || (number && word.chars().all(legal) && !word.starts_with(char::is_numeric))
}

/// The graph and the suffix of a file's stem: `embed_tokens_q4` is `embed_tokens` in `q4`.
pub(in crate::models) fn split(stem: &str) -> (&str, &str) {
    match stem.rsplit_once('_') {
        Some((graph, end)) if is_suffix(end) => (graph, end),
        _ => (stem, ""),
    }
}

/// Which of the suffixes that are there is taken. One that is asked for must be there; `q8` may be
/// called `quantized`.
pub(in crate::models) fn choose<'a>(
    there: &'a BTreeSet<String>,
    asked: Option<&str>,
) -> Option<&'a str> {
    let find = |suffix: &str| there.get(suffix).map(String::as_str);
    match asked {
        Some(asked) => {
            let also = if asked == "q8" { "quantized" } else { asked };
            find(suffix(asked)).or_else(|| find(also))
        }
        None => {
            let mut there: Vec<&str> = there.iter().map(String::as_str).collect();
            there.sort_by_key(|suffix| (place(suffix), *suffix));
            there.first().copied()
        }
    }
}

fn place(suffix: &str) -> usize {
    let known = ORDER.iter().position(|known| *known == suffix);
    known.unwrap_or(ORDER.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(suffixes: &[&str]) -> BTreeSet<String> {
        suffixes.iter().map(|suffix| (*suffix).to_owned()).collect()
    }

    #[test]
    fn a_files_name_is_split_into_graph_and_number_format() {
        for (stem, graph, suffix) in [
            ("embed_tokens", "embed_tokens", ""),
            ("embed_tokens_q8f16", "embed_tokens", "q8f16"),
            ("decoder_model_merged", "decoder_model_merged", ""),
            (
                "decoder_model_merged_quantized",
                "decoder_model_merged",
                "quantized",
            ),
            (
                "decoder_with_past_model_q4f32",
                "decoder_with_past_model",
                "q4f32",
            ),
            ("model_bnb4", "model", "bnb4"),
        ] {
            assert_eq!(split(stem), (graph, suffix));
        }
    }

    #[test]
    fn full_precision_comes_first_then_half_eight_bits_four_bits_and_the_rest_by_name() {
        let mut all = there(&[
            "q4f16", "q4", "uint8", "q8", "fp16", "", "bnb4", "int8", "q2",
        ]);
        let mut taken = Vec::new();
        while let Some(suffix) = choose(&all, None).map(str::to_owned) {
            all.remove(&suffix);
            taken.push(suffix);
        }
        assert_eq!(
            taken,
            [
                "", "fp16", "q8", "int8", "uint8", "q4", "bnb4", "q2", "q4f16"
            ]
        );
    }

    #[test]
    fn what_is_asked_for_must_be_there_and_q8_may_be_called_quantized() {
        let all = there(&["", "quantized", "q2f16"]);
        assert_eq!(choose(&all, Some("fp32")), Some(""));
        assert_eq!(choose(&all, Some("q2f16")), Some("q2f16"));
        assert_eq!(choose(&all, Some("q8")), Some("quantized"));
        assert_eq!(choose(&all, Some("q4")), None);
        assert_eq!(
            words(all.iter().map(String::as_str)),
            "fp32, quantized, q2f16"
        );
    }
}
