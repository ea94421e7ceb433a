//! Picture and prompt as the body of a request to `/chat/completions`.

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use serde::{Serialize, Serializer};
use vila2_actors::{error::ModelError, image::Image, ports::Prompt};

/// Quality of the JPEG. Pixels are sent as JPEG without subsampled colour: a photograph of 2048
/// pixels is 1 to 2 MB, where PNG is 8 and takes ten times as long to write; at this quality no
/// pixel is off by more than a few levels, less than what the server's own scaling changes.
pub(super) const QUALITY: u8 = 95;

/// Bits of a seed that every server takes: some hold it in 32 bits with a sign, and numpy, which
/// others hand it to, takes none below zero.
const SEED: u64 = 0x7fff_ffff;

/// The body: one message of the user, the picture before the prompt, not streamed. Of the sampling,
/// what is at its default is left out: a server may not know the key.
///
/// # Errors
/// [`ModelError::Input`] where the picture cannot be written.
pub(super) fn body(model: &str, image: &Image, prompt: &Prompt) -> Result<Vec<u8>, ModelError> {
    let jpeg = jpeg(image).map_err(|error| {
        let (width, height) = (image.width, image.height);
        ModelError::Input(format!(
            "a picture of {width}×{height} pixels cannot be written as JPEG for the server: {error}"
        ))
    })?;
    let sampling = &prompt.sampling;
    let request = Request {
        model,
        messages: [Message {
            role: "user",
            content: [
                Part::ImageUrl {
                    image_url: ImageUrl {
                        url: DataUrl(&jpeg),
                    },
                },
                Part::Text { text: &prompt.text },
            ],
        }],
        max_tokens: prompt.max_tokens,
        temperature: sampling.temperature,
        top_p: (sampling.top_p < 1.0).then_some(sampling.top_p),
        top_k: (sampling.top_k > 0).then_some(sampling.top_k),
        repetition_penalty: sampling.repetition_penalty,
        no_repeat_ngram_size: sampling.no_repeat_ngram_size,
        stop: &sampling.stop,
        seed: prompt.seed & SEED,
        stream: false,
    };
    // Written straight into the body, which is large enough from the start.
    let mut body = Vec::with_capacity(jpeg.len().div_ceil(3) * 4 + prompt.text.len() * 2 + 1024);
    serde_json::to_writer(&mut body, &request).expect("bug: texts and numbers are JSON");
    Ok(body)
}

fn jpeg(image: &Image) -> Result<Vec<u8>, image::ImageError> {
    let mut jpeg = Vec::with_capacity(image.pixels.len() / 4);
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
    let (width, height) = (image.width, image.height);
    image::ImageEncoder::write_image(
        encoder,
        &image.pixels,
        width,
        height,
        ExtendedColorType::Rgb8,
    )?;
    Ok(jpeg)
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: [Message<'a>; 1],
    max_tokens: u32,
    temperature: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    seed: u64,
    stream: bool,
    // What follows is not OpenAI's, but of the servers that people run themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_repeat_ngram_size: Option<u32>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: [Part<'a>; 2],
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    ImageUrl { image_url: ImageUrl<'a> },
    Text { text: &'a str },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: DataUrl<'a>,
}

/// A JPEG as a `data:` URL.
struct DataUrl<'a>(&'a [u8]);

impl Serialize for DataUrl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let base64 = Base64Display::new(self.0, &STANDARD);
        serializer.collect_str(&format_args!("data:image/jpeg;base64,{base64}"))
    }
}
