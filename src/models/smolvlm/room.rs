//! Whether a question leaves room for an answer among the positions that the model knows.

use vila2_actors::error::ModelError;

use super::SmolVlmFolder;

impl SmolVlmFolder {
    /// Whether a question leaves room for an answer of at least one token.
    ///
    /// # Errors
    /// [`ModelError::Input`], with the numbers.
    pub(super) fn fits(&self, ids: &[u32], max_tokens: u32) -> Result<(), ModelError> {
        let (tokens, longest) = (ids.len(), self.longest);
        if tokens < longest {
            return Ok(());
        }
        let picture = ids.iter().filter(|id| **id == self.image_token).count();
        let over = tokens + 1 - longest;
        let remedy = if over < tokens - picture {
            format!("shorten the prompt by {over} tokens or more")
        } else {
            "the picture alone leaves no room; send one of other proportions, or use a model that \
             knows more positions"
                .to_owned()
        };
        Err(ModelError::Input(format!(
            "the question is {tokens} tokens, {picture} of them the picture, and the model has \
             {longest} positions for question and answer together (the answer may take \
             {max_tokens}): {remedy}"
        )))
    }

    /// Whether a prompt of the configuration can be asked at all: of the pictures that need fewest
    /// tokens.
    ///
    /// # Errors
    /// [`ModelError::Input`], with what is wrong with it.
    pub fn try_prompt(&self, text: &str, max_tokens: u32) -> Result<(), ModelError> {
        // A dot, unless it is enlarged to the most tiles there are; then a thread, which is one row.
        let grids = [(1, 1), (u32::from(u16::MAX), 1)];
        let grids = grids.map(|(width, height)| self.preprocess.grid(width, height));
        let [dot, thread] = grids;
        let fewer = thread.0 * thread.1 < dot.0 * dot.1;
        let (rows, columns) = if fewer { thread } else { dot };
        let ids = (self.prompt).ids(&self.hub.tokenizer, text, rows, columns)?;
        self.fits(&ids, max_tokens)
    }
}
