use super::*;

/// Mentions as `size color shape`, with `-` for what was not said.
fn read(text: &str) -> Vec<String> {
    let word = |word: Option<&'static str>| word.unwrap_or("-");
    mentions(text)
        .iter()
        .map(|m| format!("{} {} {}", word(m.size), word(m.color), m.shape))
        .collect()
}

#[test]
fn the_taught_caption_is_read() {
    assert_eq!(
        read(
            "Three objects on a plain gray background: a large red circle, a small blue star and \
             a small green cross."
        ),
        ["large red circle", "small blue star", "small green cross"]
    );
    assert_eq!(
        read("One object on a noisy dark gray background: a large orange ring."),
        ["large orange ring"]
    );
}

#[test]
fn the_taught_grounding_is_read_past_its_boxes() {
    assert_eq!(
        read("a large red circle [120,045,330,260], a small blue star [500,610,640,760]"),
        ["large red circle", "small blue star"]
    );
}

#[test]
fn counts_make_as_many_mentions() {
    assert_eq!(read("two red circles"), ["- red circle"; 2]);
    assert_eq!(read("3 small stars and one cross").len(), 4);
    assert_eq!(
        read("a pair of big black crosses"),
        ["large black cross"; 2]
    );
    assert_eq!(read("some triangles"), ["- - triangle"; 2]);
    assert_eq!(read("5000 rings").len(), COUNT_CAP);
}

#[test]
fn synonyms_and_modifiers_are_understood() {
    assert_eq!(read("A huge, bright-red disc"), ["large red circle"]);
    assert_eq!(
        read("a tiny violet star-shaped thing"),
        ["small purple star"]
    );
}

#[test]
fn an_elided_noun_is_filled_in() {
    assert_eq!(
        read("a red and a small blue circle"),
        ["- red circle", "small blue circle"]
    );
}

#[test]
fn what_is_said_after_the_noun_counts() {
    assert_eq!(
        read("There is a circle that is red and large."),
        ["large red circle"]
    );
    assert_eq!(read("two squares which are green"), ["- green square"; 2]);
    assert_eq!(
        read("a circle is left of a red star"),
        ["- - circle", "- red star"]
    );
}

#[test]
fn a_definite_phrase_is_the_object_named_before() {
    assert_eq!(
        read("A red circle and a star. The circle is large; the red circle is above the star."),
        ["- red circle", "- - star"]
    );
    assert_eq!(
        read("A red circle. The blue circle."),
        ["- red circle", "- blue circle"]
    );
}

#[test]
fn adjectives_of_other_nouns_are_not_lent_to_shapes() {
    assert_eq!(read("on a large blue background, a star"), ["- - star"]);
    assert_eq!(read("on a light gray wall with a star"), ["- - star"]);
}

#[test]
fn denied_quoted_and_picture_shapes_are_no_mentions() {
    assert!(read("There are no circles.").is_empty());
    assert!(read("without a red star").is_empty());
    assert!(read("the words \"RED STAR\" and 'ring' and “cross”").is_empty());
    assert!(read("a square picture").is_empty());
    assert_eq!(read("it's a star, isn't it"), ["- - star"]);
}

#[test]
fn any_text_can_be_read() {
    assert!(read("").is_empty());
    assert!(read("\"[' , the the and is are").is_empty());
    assert_eq!(read("ÄÖ 星 star"), ["- - star"]);
}
