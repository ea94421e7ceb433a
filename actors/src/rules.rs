//! Rules on captions: what the captioner's own text must not be, and what becomes of a record whose
//! caption is that. They look at the text of the caption stage alone, never at the enriched text.

mod pattern;
#[cfg(test)]
mod tests;
mod words;

use std::{cell::OnceCell, fmt, ops::Range, sync::Arc};

use self::words::Words;
pub use self::{pattern::Pattern, words::count_words};
use crate::annotation::Finish;

/// The names of the rules that are built in, in the order in which they are looked at.
pub const BUILT_IN: [&str; 6] = [
    "empty",
    "too_short",
    "too_long",
    "refusal",
    "prompt_leak",
    "repetition",
];

/// Words of a prompt in a row that give it away; a shorter prompt must stand there as a whole.
const LEAKED_RUN: usize = 8;
/// Prompts of fewer words are not looked for: any caption may hold them.
const SHORTEST_PROMPT: usize = 3;
/// Characters of the caption that a dead letter shows on each side of what tripped a rule.
const CONTEXT: usize = 40;
/// Characters of what tripped a rule that are shown; a longer one is cut.
const SHOWN: usize = 80;

/// What becomes of a caption that trips a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The record is a dead letter with the reason `rule`.
    Reject,
    /// The captioner is asked again, with the next prompt and another seed.
    Retry,
    /// The record goes on; its member `marks` names the rule.
    Mark,
}

impl Action {
    /// The word in configuration and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Retry => "retry",
            Self::Mark => "mark",
        }
    }
}

/// What becomes of a caption that trips a rule of [`Action::Retry`] in its last try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// As [`Action::Reject`].
    Reject,
    /// As [`Action::Mark`].
    Mark,
}

impl Fallback {
    /// The action that it comes to.
    #[must_use]
    pub const fn action(self) -> Action {
        match self {
            Self::Reject => Action::Reject,
            Self::Mark => Action::Mark,
        }
    }
}

/// The rules in force. By default only repetition is looked for, and marks.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Those that are not off, each name once.
    pub list: Vec<Rule>,
    /// How often one caption is asked for again, at most.
    pub retries: u32,
    /// What comes after the last try.
    pub after_retries: Fallback,
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// One of [`BUILT_IN`], or the name of a phrase.
    pub name: Arc<str>,
    /// What it looks for.
    pub test: Test,
    /// What follows.
    pub action: Action,
}

/// What a rule looks for.
#[derive(Debug, Clone)]
pub enum Test {
    /// No word at all.
    Empty,
    /// Fewer words than this (see [`count_words`]).
    TooShort(usize),
    /// More words than this.
    TooLong(usize),
    /// One of these openings: the captioner declines, instead of describing.
    Refusal(Openings),
    /// The prompt's own words, or one of these chat markers.
    PromptLeak(Vec<Pattern>),
    /// The captioner was stopped because it repeated itself ([`Finish::Repeat`]).
    Repetition,
    /// A phrase.
    Phrase(Pattern),
}

/// How refusals begin, word by word: case, the kind of apostrophe and what stands between words do
/// not matter.
#[derive(Debug, Clone, Default)]
pub struct Openings(Vec<Vec<String>>);

impl<T: AsRef<str>> FromIterator<T> for Openings {
    /// Texts without a word open nothing, and are left out.
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let openings = texts.into_iter().map(|text| {
            let words = Words::of(text.as_ref());
            words.folded().map(str::to_owned).collect::<Vec<_>>()
        });
        Self(openings.filter(|words| !words.is_empty()).collect())
    }
}

/// A caption before the rules.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// The captioner's text.
    pub text: &'a str,
    /// Why it ended.
    pub finish: Finish,
    /// The prompt that asked for it.
    pub prompt: &'a str,
    /// How often it was asked for, this time included.
    pub tries: u32,
}

/// What the rules say of a caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// It goes on, marked by the rules of these names.
    Pass(Vec<Arc<str>>),
    /// It is to be asked for again.
    Retry(Tripped),
    /// It is a dead letter.
    Reject(Tripped),
}

/// A rule that a caption tripped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tripped {
    /// Its name.
    pub rule: Arc<str>,
    /// The words that tripped it, with what stands around them.
    pub words: String,
}

impl fmt::Display for Tripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.words)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            list: vec![Rule {
                name: Arc::from("repetition"),
                test: Test::Repetition,
                action: Action::Mark,
            }],
            retries: 2,
            after_retries: Fallback::Mark,
        }
    }
}

impl Rules {
    /// Looks at a caption. A rule that rejects comes before one that asks again, and that before
    /// those that mark; among equals the first of the list.
    #[must_use]
    pub fn judge(&self, caption: Judged<'_>) -> Ruling {
        let look = Look::new(caption);
        let (mut again, mut marks) = (None, Vec::new());
        for rule in &self.list {
            let Some(words) = look.trips(&rule.test) else {
                continue;
            };
            let tripped = Tripped {
                rule: Arc::clone(&rule.name),
                words,
            };
            let spent = caption.tries > self.retries;
            match rule.action {
                Action::Retry if !spent => {
                    again.get_or_insert(tripped);
                }
                Action::Retry if self.after_retries == Fallback::Reject => {
                    return Ruling::Reject(tripped);
                }
                Action::Reject => return Ruling::Reject(tripped),
                Action::Retry | Action::Mark => marks.push(tripped.rule),
            }
        }
        again.map_or(Ruling::Pass(marks), Ruling::Retry)
    }

    /// Whatever of the rules can change a caption's text, in words that are the same whenever the
    /// texts are: those that ask again. `None`: none does. Part of the record's
    /// [`Fingerprint`](crate::fingerprint::Fingerprint).
    #[must_use]
    pub fn identity(&self) -> Option<String> {
        let mut identity = String::new();
        for rule in self.list.iter().filter(|rule| rule.action == Action::Retry) {
            identity.push_str(&format!("{}: {:?}\n", rule.name, rule.test));
        }
        (!identity.is_empty()).then(|| format!("retries: {}\n{identity}", self.retries))
    }

    /// Rules with the actions that they may come to, for counters that exist from the start.
    pub(crate) fn actions(&self) -> impl Iterator<Item = (&Arc<str>, Action)> {
        self.list.iter().flat_map(|rule| {
            let fallback = (rule.action == Action::Retry).then(|| self.after_retries.action());
            let actions = [Some(rule.action), fallback];
            (actions.into_iter().flatten()).map(|action| (&rule.name, action))
        })
    }
}

/// One caption under all rules; its words are found once, and only where a rule asks for them.
struct Look<'a> {
    caption: Judged<'a>,
    words: OnceCell<Words<'a>>,
}

impl<'a> Look<'a> {
    fn new(caption: Judged<'a>) -> Self {
        Self {
            caption,
            words: OnceCell::new(),
        }
    }

    fn words(&self) -> &Words<'a> {
        self.words.get_or_init(|| Words::of(self.caption.text))
    }

    /// The words that trip a test, with what stands around them; `None`: it does not.
    fn trips(&self, test: &Test) -> Option<String> {
        let text = self.caption.text;
        match test {
            Test::Empty => (self.words().len() == 0).then(|| format!("no word in {:?}", cut(text))),
            Test::TooShort(least) => {
                let count = self.words().len();
                (count < *least)
                    .then(|| format!("{}, fewer than {least}: {:?}", plural(count), cut(text)))
            }
            Test::TooLong(most) => {
                let beyond = in_context(text, self.words().span(*most..*most + 1)?);
                let count = plural(self.words().len());
                Some(format!(
                    "{count}, more than {most}; the first too many is {beyond}"
                ))
            }
            Test::Refusal(openings) => {
                let opening = self.words().opening(&openings.0)?;
                Some(in_context(text, self.words().span(0..opening)?))
            }
            Test::PromptLeak(markers) => {
                let leaked = self.leaked_prompt();
                let mut marked = markers.iter().filter_map(|marker| marker.find(text));
                Some(in_context(text, leaked.or_else(|| marked.next())?))
            }
            Test::Repetition => (self.caption.finish == Finish::Repeat).then(|| {
                let end = shown(text, text.len()..text.len());
                format!("cut where it began to repeat itself: {end}")
            }),
            Test::Phrase(pattern) => Some(in_context(text, pattern.find(text)?)),
        }
    }

    /// Where the caption holds the prompt, or a long run of its words.
    fn leaked_prompt(&self) -> Option<Range<usize>> {
        let prompt = Words::of(self.caption.prompt);
        let prompt: Vec<_> = prompt.folded().collect();
        if prompt.len() < SHORTEST_PROMPT {
            return None;
        }
        let run = prompt.len().min(LEAKED_RUN);
        let caption: Vec<_> = self.words().folded().collect();
        let at = (caption.windows(run))
            .position(|window| prompt.windows(run).any(|part| part == window))?;
        self.words().span(at..at + run)
    }
}

fn plural(words: usize) -> String {
    format!("{words} word{}", if words == 1 { "" } else { "s" })
}

/// What tripped a rule, and the caption around it.
fn in_context(text: &str, tripped: Range<usize>) -> String {
    let (words, around) = (cut(&text[tripped.clone()]), shown(text, tripped));
    format!("{words:?} in {around}")
}

/// The part of a text around a range of its bytes, in quotes, with dots where it goes on.
fn shown(text: &str, range: Range<usize>) -> String {
    let before = text[..range.start].char_indices().rev();
    let start = before
        .take(CONTEXT)
        .last()
        .map_or(range.start, |(at, _)| at);
    let mut after = text[range.end..].char_indices();
    let end = after
        .nth(CONTEXT)
        .map_or(text.len(), |(at, _)| range.end + at);
    let dots = |cut: bool| if cut { "…" } else { "" };
    let (left, right) = (dots(start > 0), dots(end < text.len()));
    let middle = cut(&text[range.clone()]);
    let (before, after) = (&text[start..range.start], &text[range.end..end]);
    format!("{:?}", format!("{left}{before}{middle}{after}{right}"))
}

/// The beginning of a long text.
fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
