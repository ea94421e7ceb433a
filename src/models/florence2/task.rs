//! Tasks: words in angle brackets that stand for a sentence the model was trained on.
//!
//! # Source
//! `Florence2Processor` of transformers 5.24.

use vila2_actors::error::ModelError;

use crate::models::answers::locations::Shape;

/// Tasks that stand alone.
const ALONE: [(&str, &str); 8] = [
    ("<OCR>", "What is the text in the image?"),
    (
        "<OCR_WITH_REGION>",
        "What is the text in the image, with regions?",
    ),
    ("<CAPTION>", "What does the image describe?"),
    (
        "<DETAILED_CAPTION>",
        "Describe in detail what is shown in the image.",
    ),
    (
        "<MORE_DETAILED_CAPTION>",
        "Describe with a paragraph what is shown in the image.",
    ),
    (
        "<OD>",
        "Locate the objects with category name in the image.",
    ),
    (
        "<DENSE_REGION_CAPTION>",
        "Locate the objects in the image, with their descriptions.",
    ),
    (
        "<REGION_PROPOSAL>",
        "Locate the region proposals in the image.",
    ),
];

/// Tasks with a text of one's own: what comes before it, and after it.
const WITH_TEXT: [(&str, &str, &str); 7] = [
    (
        "<CAPTION_TO_PHRASE_GROUNDING>",
        "Locate the phrases in the caption: ",
        "",
    ),
    (
        "<REFERRING_EXPRESSION_SEGMENTATION>",
        "Locate ",
        " in the image with mask",
    ),
    (
        "<REGION_TO_SEGMENTATION>",
        "What is the polygon mask of region ",
        "",
    ),
    ("<OPEN_VOCABULARY_DETECTION>", "Locate ", " in the image."),
    ("<REGION_TO_CATEGORY>", "What is the region ", "?"),
    (
        "<REGION_TO_DESCRIPTION>",
        "What does the region ",
        " describe?",
    ),
    ("<REGION_TO_OCR>", "What text is in the region ", "?"),
];

/// The sentence that a prompt stands for: a task alone, a task with a text, or the prompt itself.
///
/// # Errors
/// [`ModelError::Input`] where a task that stands alone has a text beside it.
pub fn sentence(prompt: &str) -> Result<String, ModelError> {
    if let Some((task, sentence)) = ALONE.iter().find(|(task, _)| prompt.contains(task)) {
        return match prompt.trim() == *task {
            true => Ok((*sentence).to_owned()),
            false => Err(ModelError::Input(format!(
                "the prompt `{prompt}` has words beside {task}, which stands alone: leave them \
                 out, or write a sentence without it"
            ))),
        };
    }
    if let Some((task, before, after)) = WITH_TEXT.iter().find(|(task, ..)| prompt.contains(task)) {
        let text = prompt.replace(task, "");
        return Ok(format!("{before}{}{after}", text.trim()));
    }
    Ok(prompt.to_owned())
}

/// What the places in the answer to a prompt are.
#[must_use]
pub fn shape(prompt: &str) -> Shape {
    let (task, sentence) = ALONE[1];
    if prompt.contains(task) || prompt.trim() == sentence {
        Shape::Quads
    } else {
        Shape::Boxes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_becomes_its_sentence_and_other_prompts_stay() {
        let sentence = |prompt: &str| sentence(prompt).expect("a sentence");
        assert_eq!(sentence("<CAPTION>"), "What does the image describe?");
        assert_eq!(
            sentence("<CAPTION_TO_PHRASE_GROUNDING> a cat on a mat"),
            "Locate the phrases in the caption: a cat on a mat"
        );
        assert_eq!(
            sentence("<OPEN_VOCABULARY_DETECTION>a cat"),
            "Locate a cat in the image."
        );
        assert_eq!(sentence("What is this?"), "What is this?");
    }

    #[test]
    fn a_task_that_stands_alone_has_no_words_beside_it() {
        let error = sentence("<OD> a cat").expect_err("too much").to_string();
        assert!(error.contains("<OD>, which stands alone"), "{error}");
    }
}
