//! From the user's text to token ids: chat template, image expansion, tokenizer.
//!
//! # Source
//! `SmolVLMProcessor` of transformers 4.57, `Idefics3Processor` of 5.24.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use minijinja::{Environment, ErrorKind, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::Value;
use tokenizers::Tokenizer;
use vila2_actors::error::ModelError;

use crate::models::hub::{Fault, HubFolder, Source, Values};

/// Prompts whose ids are remembered: a stage asks the same few questions of every image.
const REMEMBERED: usize = 256;

type Asked = (String, usize, usize);

/// The chat template of a folder with the words that stand for an image.
#[derive(Debug, Clone)]
pub struct PromptTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
    image: String,
    fake: String,
    global: String,
    image_tokens: usize,
    remembered: Arc<Mutex<HashMap<Asked, Arc<[u32]>>>>,
}

impl PromptTemplate {
    /// Reads template and tokens of a folder, and tries the template once.
    ///
    /// # Errors
    /// Every fault found.
    pub fn read(hub: &HubFolder) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut values = Values::new([Source::file("processor_config.json", &hub.processor)]);
        let told = values.whole("image_seq_len", 1..=u64::from(u32::MAX));
        faults.extend(values.faults());
        let image_tokens = told.or_else(|| image_tokens(&hub.config)).unwrap_or(0);
        if image_tokens == 0 && faults.is_empty() {
            faults.push(Fault::new(
                "processor_config.json",
                "`image_seq_len` is missing, and config.json does not tell it",
            ));
        }
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", |message: String| {
            Err::<String, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        let file = "chat_template.jinja";
        if let Err(error) = environment.add_template_owned("chat", hub.chat_template.clone()) {
            faults.push(Fault::new(file, format!("no Jinja this can read: {error}")));
            return Err(faults);
        }
        let tokens = &hub.tokenizer_config;
        let word = |key: &str, usual: &str| {
            token(&tokens[key])
                .or_else(|| token(&tokens["extra_special_tokens"][key]))
                .or_else(|| token(&tokens["model_specific_special_tokens"][key]))
                .unwrap_or_else(|| usual.to_owned())
        };
        let template = Self {
            environment,
            bos_token: word("bos_token", ""),
            eos_token: word("eos_token", ""),
            image: word("image_token", "<image>"),
            fake: word("fake_image_token", "<fake_token_around_image>"),
            global: word("global_image_token", "<global-img>"),
            image_tokens,
            remembered: Arc::default(),
        };
        // Where the markers of tiles and of the whole picture are no tokens, they are plain text.
        for word in [&template.image, &template.fake] {
            if hub.tokenizer.token_to_id(word).is_none() {
                let what = format!("the token `{word}` is missing");
                faults.push(Fault::new("tokenizer.json", what));
            }
        }
        match template.render("Describe the image.") {
            Ok(text) if text.matches(&template.image).count() == 1 => {}
            Ok(_) => faults.push(Fault::new(
                file,
                format!("does not place one `{}` for one image", template.image),
            )),
            Err(error) => faults.push(Fault::new(file, format!("fails: {error}"))),
        }
        if faults.is_empty() {
            Ok(template)
        } else {
            Err(faults)
        }
    }

    /// Image tokens of one tile.
    pub(super) fn image_tokens(&self) -> usize {
        self.image_tokens
    }

    /// The ids of a prompt about one image cut into `rows × columns` tiles (0 × 0: one tile).
    ///
    /// # Errors
    /// [`ModelError::Input`] where the text holds the image's own word, the template refuses it, or
    /// it cannot be tokenized.
    pub fn ids(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Arc<[u32]>, ModelError> {
        let asked = (text.to_owned(), rows, columns);
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(ids) = remembered.get(&asked) {
            return Ok(Arc::clone(ids));
        }
        let refuse = |what: String| ModelError::Input(what);
        let rendered = self.render(text).map_err(|e| {
            refuse(format!(
                "the model's chat template refuses the prompt: {e}; ask in other words"
            ))
        })?;
        let Some((before, after)) = rendered.split_once(self.image.as_str()) else {
            return Err(refuse(
                "the model's chat template places no picture for this prompt; ask in other words"
                    .to_owned(),
            ));
        };
        if after.contains(self.image.as_str()) {
            return Err(self.holds_image());
        }
        let mut expanded = before.to_owned();
        self.expand(rows, columns, &mut expanded);
        expanded.push_str(after);
        // A template that writes the first token itself wants no second one.
        let add_special = self.bos_token.is_empty() || !rendered.starts_with(&self.bos_token);
        let encoding = tokenizer.encode_fast(expanded, add_special).map_err(|e| {
            refuse(format!(
                "the model's tokenizer refuses the prompt: {e}; ask in other words"
            ))
        })?;
        let ids: Arc<[u32]> = encoding.get_ids().into();
        let image = tokenizer.token_to_id(&self.image);
        let placed = ids.iter().filter(|id| Some(**id) == image).count();
        if placed > self.image_tokens * (rows * columns + 1) {
            return Err(self.holds_image());
        }
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(asked, Arc::clone(&ids));
        Ok(ids)
    }

    fn holds_image(&self) -> ModelError {
        ModelError::Input(format!(
            "the prompt holds `{}`, which stands for the picture and is placed by the model's own \
             chat template: leave it out",
            self.image
        ))
    }

    /// A question about one image as the chat template writes it, the image as its word alone.
    ///
    /// # Errors
    /// [`ModelError::Input`] where the template fails.
    pub fn example(&self, question: &str) -> Result<String, ModelError> {
        self.render(question)
            .map_err(|e| ModelError::Input(format!("the chat template fails: {e}")))
    }

    /// The conversation of one question about one image, up to where the answer begins.
    fn render(&self, text: &str) -> Result<String, minijinja::Error> {
        self.environment.get_template("chat")?.render(context! {
            messages => [context! {
                role => "user",
                content => [
                    context! { type => "image" },
                    context! { type => "text", text => text },
                ],
            }],
            add_generation_prompt => true,
            bos_token => self.bos_token,
            eos_token => self.eos_token,
        })
    }

    /// What stands for the image.
    fn expand(&self, rows: usize, columns: usize, to: &mut String) {
        let image = self.image.repeat(self.image_tokens);
        for row in 1..=rows {
            for column in 1..=columns {
                let _ = write!(to, "{}<row_{row}_col_{column}>{image}", self.fake);
            }
            to.push('\n');
        }
        if rows > 0 {
            to.push('\n');
        }
        let _ = write!(to, "{}{}{image}{}", self.fake, self.global, self.fake);
    }
}

/// A token of `tokenizer_config.json`: a string, or an object that holds it.
fn token(value: &Value) -> Option<String> {
    value
        .as_str()
        .or_else(|| value["content"].as_str())
        .map(str::to_owned)
}

/// Features of one tile: patches, `scale_factor²` of them shuffled into one.
fn image_tokens(config: &Value) -> Option<usize> {
    let vision = &config["vision_config"];
    let side = vision["image_size"].as_u64()? / vision["patch_size"].as_u64()?.max(1);
    let scale = config["scale_factor"].as_u64()?.max(1);
    usize::try_from(side * side / (scale * scale)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> PromptTemplate {
        let mut environment = Environment::new();
        environment.set_unknown_method_callback(unknown_method_callback);
        environment
            .add_template_owned("chat", text.to_owned())
            .expect("a template");
        PromptTemplate {
            environment,
            bos_token: "<s>".to_owned(),
            eos_token: String::new(),
            image: "<image>".to_owned(),
            fake: "<fake>".to_owned(),
            global: "<global>".to_owned(),
            image_tokens: 2,
            remembered: Arc::default(),
        }
    }

    #[test]
    fn one_tile_and_many_expand_as_the_processor_does() {
        let template = template("");
        let mut one = String::new();
        template.expand(0, 0, &mut one);
        assert_eq!(one, "<fake><global><image><image><fake>");
        let mut many = String::new();
        template.expand(1, 2, &mut many);
        assert_eq!(
            many,
            "<fake><row_1_col_1><image><image><fake><row_1_col_2><image><image>\n\
             \n<fake><global><image><image><fake>"
        );
    }

    #[test]
    fn templates_may_use_python_methods() {
        let template = template("{{ messages[0]['content'][1]['text'].strip().upper() }}");
        assert_eq!(template.render(" what? ").expect("renders"), "WHAT?");
    }

    #[test]
    fn a_text_that_holds_the_image_word_is_refused() {
        let template = template("<s><image>{{ messages[0]['content'][1]['text'] }}");
        let tokenizer = Tokenizer::new(tokenizers::models::wordlevel::WordLevel::default());
        let error = template.ids(&tokenizer, "an <image> of", 0, 0).unwrap_err();
        assert!(matches!(error, ModelError::Input(_)), "{error}");
        assert!(error.to_string().contains("leave it out"), "{error}");
    }

    #[test]
    fn a_text_that_the_template_refuses_is_the_requests_fault() {
        let mut template = template(
            "{% if 'cat' in messages[0]['content'][1]['text'] %}{{ raise_exception('no cats') }}\
             {% endif %}<image>",
        );
        (template.environment).add_function("raise_exception", |message: String| {
            Err::<String, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        let tokenizer = Tokenizer::new(tokenizers::models::wordlevel::WordLevel::default());
        let error = template.ids(&tokenizer, "a cat?", 0, 0).unwrap_err();
        assert!(matches!(error, ModelError::Input(_)), "{error}");
        assert!(error.to_string().contains("no cats"), "{error}");
    }
}
