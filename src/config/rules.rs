//! `[rules]`: what captions must not be.

use vila2_actors::rules::{Action, BUILT_IN, Fallback, Pattern, count_words};

use super::reader::Section;

/// `[rules]`. An action that is `None` is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How often one caption is asked for again, at most.
    pub retries: u32,
    /// What comes after the last try.
    pub after_retries: Fallback,
    /// A caption without a word.
    pub empty: Option<Action>,
    /// One with fewer words than `min_words`.
    pub too_short: Option<Action>,
    /// The fewest words.
    pub min_words: usize,
    /// One with more words than `max_words`.
    pub too_long: Option<Action>,
    /// The most words.
    pub max_words: usize,
    /// One that begins with one of `openings`.
    pub refusal: Option<Action>,
    /// How refusals begin: the table and one's own.
    pub openings: Vec<String>,
    /// One that repeats its prompt, or holds one of `markers`.
    pub prompt_leak: Option<Action>,
    /// Marks of chat templates.
    pub markers: Vec<String>,
    /// One that was stopped because it repeated itself.
    pub repetition: Option<Action>,
    /// One's own, in order of their names.
    pub phrases: Vec<Phrase>,
}

/// One of `[rules.phrases]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    /// The rule's name.
    pub name: String,
    /// What is looked for.
    pub wording: Wording,
    /// What follows.
    pub action: Option<Action>,
}

/// What a phrase looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wording {
    /// See [`Pattern::literal`].
    Literal(String),
    /// See [`Pattern::regex`].
    Regex(String),
}

const ACTIONS: [(&str, Option<Action>); 4] = [
    ("off", None),
    (Action::Reject.as_str(), Some(Action::Reject)),
    (Action::Retry.as_str(), Some(Action::Retry)),
    (Action::Mark.as_str(), Some(Action::Mark)),
];

/// The most words that a bound may name.
const MOST_WORDS: u64 = 100_000;

pub(super) fn read(section: &Section<'_>) -> Rules {
    let action = |key| section.choice(key, &ACTIONS);
    let words = |key| {
        usize::try_from(section.number(key, 1..=MOST_WORDS))
            .expect("bug: bounds of words fit the machine")
    };
    let rules = Rules {
        retries: u32::try_from(section.number("retries", 1..=10))
            .expect("bug: bounds of retries fit 32 bits"),
        after_retries: section.choice(
            "after_retries",
            &[
                (Action::Mark.as_str(), Fallback::Mark),
                (Action::Reject.as_str(), Fallback::Reject),
            ],
        ),
        empty: action("empty"),
        too_short: action("too_short"),
        min_words: words("min_words"),
        too_long: action("too_long"),
        max_words: words("max_words"),
        refusal: action("refusal"),
        openings: openings(section),
        prompt_leak: action("prompt_leak"),
        markers: section.texts("chat_markers", "a list of texts", |text| {
            Pattern::marker(text).map(|_| ())
        }),
        repetition: action("repetition"),
        phrases: phrases(section),
    };
    let bounded = rules.too_short.is_some() && rules.too_long.is_some();
    let wrong = ["min_words", "max_words"]
        .iter()
        .any(|key| section.is_wrong(key));
    if bounded && rules.max_words < rules.min_words && !wrong {
        let problem = format!(
            "{} is below rules.min_words = {}, so every caption would trip a rule",
            rules.max_words, rules.min_words
        );
        let accepted = format!("{} at least; or a lower rules.min_words", rules.min_words);
        section.fault("max_words", &problem, &accepted);
    }
    if rules.refusal.is_some() && rules.openings.is_empty() {
        let faulty = ["refusal_openings", "more_refusal_openings"];
        if !faulty.iter().any(|key| section.is_wrong(key)) {
            let accepted = "at least one opening there or in rules.more_refusal_openings";
            section.fault(
                "refusal_openings",
                "is empty, but rules.refusal is not off",
                accepted,
            );
        }
    }
    rules
}

/// The table and one's own.
fn openings(section: &Section<'_>) -> Vec<String> {
    let read = |key| {
        section.texts(
            key,
            "a list of texts with words in them",
            |text| match count_words(text) {
                0 => Err(format!("{text:?} has no word")),
                _ => Ok(()),
            },
        )
    };
    let mut openings = read("refusal_openings");
    openings.extend(read("more_refusal_openings"));
    openings
}

fn phrases(section: &Section<'_>) -> Vec<Phrase> {
    let phrases = section.sections("phrases", |name, phrase| {
        let key = format!("phrases.{name}");
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        if BUILT_IN.contains(&name) {
            section.fault(
                &key,
                "is the name of a rule that is built in",
                "another name",
            );
        } else if !(1..=64).contains(&name.len()) || !name.chars().all(legal) {
            section.fault(&key, "is no name of a rule", "1 to 64 of a-z 0-9 _ -");
        }
        Some(Phrase {
            name: name.to_owned(),
            action: phrase.choice("action", &ACTIONS),
            wording: wording(phrase, section, &key)?,
        })
    });
    phrases
        .into_iter()
        .filter_map(|(_, phrase)| phrase)
        .collect()
}

fn wording(phrase: &Section<'_>, section: &Section<'_>, key: &str) -> Option<Wording> {
    let literal = phrase.has("literal").then(|| {
        phrase.text("literal", "a text", |text| {
            Pattern::literal(text).map(|_| ())
        })
    });
    let regex = phrase.has("regex").then(|| {
        let accepted = "a regular expression as of the crate regex, for example '(?i)\\bcat\\b'";
        phrase.text("regex", accepted, |text| Pattern::regex(text).map(|_| ()))
    });
    match (literal, regex) {
        (Some(literal), None) => Some(Wording::Literal(literal)),
        (None, Some(regex)) => Some(Wording::Regex(regex)),
        (literal, _) => {
            let problem = match literal {
                Some(_) => "has both literal and regex",
                None => "has neither literal nor regex",
            };
            section.fault(key, problem, "one of both");
            None
        }
    }
}
