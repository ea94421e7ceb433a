//! What the formats share that are decoded through the `image` crate.

use std::{error::Error, io};

use image::{ColorType, ImageDecoder, ImageError};
use vila2_actors::error::DecodeError;

use super::{Format, background::Background, pixels::Samples};

/// Bytes of the decoded samples.
pub(super) fn length(decoder: &impl ImageDecoder) -> Result<usize, DecodeError> {
    usize::try_from(decoder.total_bytes())
        .ok()
        .filter(|length| isize::try_from(*length).is_ok())
        .ok_or_else(|| DecodeError::Corrupt("more pixels than there is memory".to_owned()))
}

/// To RGB, or the kind of the samples in the refusal.
pub(super) fn to_rgb(samples: Samples, background: Background) -> Result<Vec<u8>, DecodeError> {
    let color = samples.color;
    samples
        .into_rgb(background)
        .ok_or_else(|| unsupported(color))
}

fn unsupported(color: ColorType) -> DecodeError {
    DecodeError::UnsupportedFormat(format!("samples of kind {color:?} are not decoded here"))
}

pub(super) fn truncated(format: Format) -> DecodeError {
    DecodeError::Truncated(format!("the {} file ends too early", format.name()))
}

/// The decoder's error in our words.
pub(super) fn meaning(format: Format, error: ImageError) -> DecodeError {
    if ends_early(&error) {
        return truncated(format);
    }
    match error {
        ImageError::Unsupported(error) => DecodeError::UnsupportedFormat(error.to_string()),
        error => DecodeError::Corrupt(error.to_string()),
    }
}

/// Whether an end of file is among the causes.
fn ends_early(error: &ImageError) -> bool {
    let mut at: Option<&(dyn Error + 'static)> = match error {
        ImageError::IoError(error) => Some(error), // which its own `source` passes over
        error => error.source(),
    };
    while let Some(cause) = at {
        if cause.downcast_ref().is_some_and(is_end) {
            return true;
        }
        at = cause.source();
    }
    false
}

pub(super) fn is_end(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}
