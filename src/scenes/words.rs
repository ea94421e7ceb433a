//! The words that are printed in pictures: 4–8 letters, and none a word of the lexicon.

/// Lower case; the generator prints them in either case.
pub const WORDS: [&str; 158] = [
    "open", "sale", "cafe", "hotel", "market", "garden", "bakery", "museum", "station", "airport",
    "library", "theatre", "kitchen", "window", "bridge", "river", "harbor", "island", "forest",
    "desert", "summer", "winter", "spring", "autumn", "monday", "friday", "sunday", "january",
    "march", "april", "august", "october", "morning", "evening", "midnight", "coffee", "butter",
    "cheese", "lemon", "cherry", "banana", "tomato", "potato", "pepper", "ginger", "honey",
    "bread", "pasta", "salad", "sugar", "water", "juice", "travel", "ticket", "luggage", "north",
    "south", "east", "west", "exit", "enter", "stop", "danger", "caution", "warning", "private",
    "parking", "public", "closed", "welcome", "hello", "thanks", "please", "music", "guitar",
    "piano", "violin", "drums", "concert", "dance", "movie", "studio", "camera", "photo", "paint",
    "pencil", "paper", "letter", "stamp", "postal", "office", "school", "college", "science",
    "physics", "history", "algebra", "energy", "engine", "motor", "wheel", "bicycle", "truck",
    "train", "rocket", "planet", "saturn", "jupiter", "galaxy", "comet", "cloud", "storm",
    "thunder", "rainbow", "snow", "rabbit", "monkey", "dolphin", "penguin", "elephant", "giraffe",
    "panda", "tiger", "falcon", "pigeon", "flower", "tulip", "daisy", "orchid", "maple", "cedar",
    "bamboo", "granite", "marble", "copper", "silver", "crystal", "castle", "palace", "temple",
    "tower", "village", "country", "london", "paris", "berlin", "madrid", "vienna", "oslo",
    "dublin", "helsinki", "lisbon", "future", "memory", "secret", "puzzle", "victory", "liberty",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_four_to_eight_letters_and_come_once() {
        let mut sorted = WORDS.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), WORDS.len());
        for word in WORDS {
            assert!((4..=8).contains(&word.len()), "{word}");
            assert!(word.bytes().all(|b| b.is_ascii_lowercase()), "{word}");
        }
    }
}
