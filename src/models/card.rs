//! The card of a model folder: the front matter of its `README.md`, as hubs read it.

use std::{fs, path::Path};

/// The tag of a model that knows the pictures of `vila2 scenes` and nothing else.
pub const DRAWN_SCENES: &str = "drawn-scenes";

/// Whether the card of a folder has a tag; a folder without a card has none.
#[must_use]
pub fn has_tag(folder: &Path, tag: &str) -> bool {
    let card = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    tags(&card).contains(&tag)
}

/// `tags` of the front matter, as a list over lines (`- one`) or in brackets (`[one, two]`).
fn tags(card: &str) -> Vec<&str> {
    let mut lines = card.lines().map(str::trim_end);
    if lines.next() != Some("---") {
        return Vec::new();
    }
    let mut matter = lines.take_while(|line| *line != "---");
    let Some(first) = matter.find_map(|line| line.strip_prefix("tags:")) else {
        return Vec::new();
    };
    let inline = first.trim().trim_start_matches('[').trim_end_matches(']');
    let below = matter.map_while(|line| line.trim_start().strip_prefix("- "));
    (inline.split(',').chain(below))
        .map(|tag| tag.trim().trim_matches(['"', '\'']))
        .filter(|tag| !tag.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_in_both_forms_and_from_the_front_matter_alone() {
        let listed = "---\nlicense: apache-2.0\ntags:\n- one\n  - \"two\"\nlanguage: en\n---\n";
        assert_eq!(tags(listed), ["one", "two"]);
        assert_eq!(tags("---\ntags: [one, 'two']\n---\n"), ["one", "two"]);
        assert_eq!(tags("---\ntags: one\nlicense: x\n---\n- two\n"), ["one"]);
        for none in [
            "",
            "# a card\ntags:\n- one\n",
            "---\nlicense: x\n---\ntags:\n- one\n",
            "---\nbase_tags:\n- one\n---\n",
        ] {
            assert!(tags(none).is_empty(), "{none:?}");
        }
    }

    #[test]
    fn the_shipped_model_says_what_it_knows_and_another_folder_does_not() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(has_tag(&root.join("models/scenes"), DRAWN_SCENES));
        assert!(!has_tag(&root.join("models/scenes"), "drawn"));
        assert!(!has_tag(root, DRAWN_SCENES));
        assert!(!has_tag(&root.join("nowhere"), DRAWN_SCENES));
    }
}
