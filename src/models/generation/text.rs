//! The tokens of an answer as text.

use tokenizers::Tokenizer;
use vila2_actors::{certainty::Certainty, error::ModelError, ports::Generated};

use super::Ended;

/// The text of an answer, up to the first of the texts that end it, without blanks around it; and
/// how likely the model held each part of it.
///
/// # Errors
/// [`ModelError::Run`] where the tokens are no text.
pub fn read(
    ended: &Ended,
    tokenizer: &Tokenizer,
    skip_special_tokens: bool,
) -> Result<Generated, ModelError> {
    let whole = tokenizer
        .decode(&ended.tokens, skip_special_tokens)
        .map_err(|e| ModelError::Run(format!("the answer cannot be decoded: {e}")))?;
    let ends = ends(&ended.tokens, tokenizer, skip_special_tokens, &whole);
    let cut = ended.stop.iter().filter_map(|stop| whole.find(stop)).min();
    let cut = &whole[..cut.unwrap_or(whole.len())];
    let text = cut.trim();
    let blank = cut.len() - cut.trim_start().len();
    let mut start = 0;
    let mut tokens = Vec::with_capacity(ends.len());
    for (end, probability) in ends.into_iter().zip(&ended.probabilities) {
        // What is cut off does not count; what has no text of its own does.
        if start < cut.len() || cut.len() == whole.len() {
            let end = end.saturating_sub(blank).min(text.len());
            tokens.push((end, *probability));
        }
        start = end;
    }
    Ok(Generated {
        text: text.to_owned(),
        tokens: u32::try_from(ended.tokens.len()).unwrap_or(u32::MAX),
        finish: ended.finish,
        certainty: Certainty::new(tokens),
        placed: None,
    })
}

/// Where the text of each token ends in the text of all, in bytes. A letter of several tokens belongs
/// to the last of them; where a decoder's text does not grow token by token, all end at its end.
fn ends(
    tokens: &[u32],
    tokenizer: &Tokenizer,
    skip_special_tokens: bool,
    whole: &str,
) -> Vec<usize> {
    let mut stream = tokenizer.decode_stream(skip_special_tokens);
    let mut end = 0;
    let mut ends = Vec::with_capacity(tokens.len());
    for token in tokens {
        match stream.step(*token) {
            Ok(Some(more)) if whole[end..].starts_with(&more) => end += more.len(),
            Ok(None) => {}
            _ => return vec![whole.len(); tokens.len()],
        }
        ends.push(end);
    }
    ends
}

#[cfg(test)]
mod tests {
    use tokenizers::{decoders::byte_level::ByteLevel, models::wordlevel::WordLevel};
    use vila2_actors::{annotation::Finish, ports::RequestId};

    use super::*;

    /// Words as byte-level vocabularies write them: `Ġ` is a blank, and two tokens are one letter.
    fn tokenizer() -> Tokenizer {
        let words = ["A", "Ġcat", ".", "ĠÃ", "©", "Ċ", "Ġdog"];
        let vocabulary = words.iter().enumerate();
        let vocabulary = vocabulary.map(|(id, word)| ((*word).to_owned(), id as u32));
        let model = WordLevel::builder()
            .vocab(vocabulary.collect())
            .unk_token(".".to_owned())
            .build()
            .expect("a vocabulary");
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_decoder(Some(ByteLevel::default()));
        tokenizer
    }

    fn answer(tokens: &[u32], stop: &[&str]) -> Generated {
        let probabilities = (0..tokens.len()).map(|at| 0.1 + at as f32 / 10.0);
        let ended = Ended {
            request: RequestId(0),
            tokens: tokens.to_vec(),
            probabilities: probabilities.collect(),
            finish: Finish::Stop,
            stop: stop.iter().map(|stop| (*stop).to_owned()).collect(),
        };
        read(&ended, &tokenizer(), true).expect("a text")
    }

    #[test]
    fn each_word_has_the_probability_of_its_tokens() {
        let said = answer(&[1, 3, 4, 2], &[]);
        assert_eq!(said.text, "cat é.");
        // " cat" lost its blank; "é" is two tokens, and belongs to the second.
        assert_eq!(said.certainty.of(&(0..3)), Some(0.1));
        assert_eq!(said.certainty.of(&(4..6)), Some(0.3));
        assert_eq!(said.certainty.of(&(6..7)), Some(0.4));
        assert_eq!(said.certainty.mean(), Some(0.25));
    }

    #[test]
    fn a_text_ends_before_what_ends_it() {
        let said = answer(&[0, 1, 5, 0, 6], &["\n", "dog"]);
        assert_eq!((said.text.as_str(), said.tokens), ("A cat", 5));
        assert_eq!(said.certainty.mean(), Some(0.15));
        assert_eq!(answer(&[0, 1], &["\n"]).text, "A cat");
    }
}
