//! Sentences of a caption.

/// Splits a caption into its sentences, each trimmed and none empty. A sentence ends with `.`,
/// `!` or `?` (and closing quotes or brackets behind it) before white space or the end; full stops
/// inside numbers and after single letters (`J. Smith`) do not end one.
pub fn split(text: &str) -> impl Iterator<Item = String> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut ended = false;
    let mut word = 0;
    for (at, letter) in text.char_indices() {
        if letter.is_whitespace() {
            if ended {
                sentences.push(&text[start..at]);
                start = at;
            }
            word = 0;
            ended = false;
            continue;
        }
        match letter {
            '.' => ended = word != 1,
            '!' | '?' => ended = true,
            '"' | '\'' | ')' | ']' | '”' | '’' => {}
            _ => ended = false,
        }
        word += 1;
    }
    sentences.push(&text[start..]);
    let trimmed: Vec<String> = sentences
        .into_iter()
        .map(|sentence| sentence.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|sentence| !sentence.is_empty())
        .collect();
    trimmed.into_iter()
}

/// Whether a sentence of [`split`] has its end.
pub fn is_whole(sentence: &str) -> bool {
    let closing = |letter: char| matches!(letter, '"' | '\'' | ')' | ']' | '”' | '’');
    (sentence.trim_end_matches(closing)).ends_with(['.', '!', '?'])
}

/// The text with its first letter in upper case.
pub fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
