//! Texts that end an answer before the model does.

use std::sync::Arc;

use tokenizers::Tokenizer;

/// Tokens before the text that is looked for: their first may be half a letter, or lose its blank.
const BEFORE: usize = 8;

/// The texts that end one answer, and what makes text of its tokens.
#[derive(Debug, Clone)]
pub struct Endings {
    tokenizer: Arc<Tokenizer>,
    texts: Arc<[String]>,
    skip_special_tokens: bool,
}

impl Endings {
    /// None where there is nothing to look for.
    #[must_use]
    pub fn new(
        tokenizer: &Arc<Tokenizer>,
        texts: &Arc<[String]>,
        skip_special_tokens: bool,
    ) -> Option<Self> {
        (!texts.is_empty()).then(|| Self {
            tokenizer: Arc::clone(tokenizer),
            texts: Arc::clone(texts),
            skip_special_tokens,
        })
    }

    /// What is looked for.
    #[must_use]
    pub fn texts(&self) -> Arc<[String]> {
        Arc::clone(&self.texts)
    }

    /// Whether an answer that goes on token by token has come to one of them. Every token is at
    /// least a byte, so that a text which has just been completed lies in as many last tokens as it
    /// has bytes.
    #[must_use]
    pub fn reached(&self, answer: &[u32]) -> bool {
        let longest = self.texts.iter().map(String::len).max().unwrap_or(0);
        let last = answer.len().saturating_sub(longest + BEFORE);
        let decoded = (self.tokenizer).decode(&answer[last..], self.skip_special_tokens);
        // What cannot be decoded is told where the whole answer is.
        decoded.is_ok_and(|text| self.texts.iter().any(|one| text.contains(one.as_str())))
    }
}
