//! Floats into and out of tensors, whichever of the two precisions a graph has.

use half::f16;
use ort::value::{DynValue, Tensor, TensorElementType};
use vila2_actors::error::ModelError;

use super::{kv::Element, run_error};

/// A tensor of this element type; `what` it is, for errors.
///
/// # Errors
/// [`ModelError::Run`] where shape and numbers do not fit.
pub(crate) fn floats(
    what: &str,
    element: Element,
    shape: &[usize],
    numbers: Vec<f32>,
) -> Result<DynValue, ModelError> {
    let unfit = run_error(what);
    match element {
        Element::F32 => Tensor::from_array((shape, numbers)).map(Tensor::into_dyn),
        Element::F16 => {
            let halves: Vec<f16> = numbers.into_iter().map(f16::from_f32).collect();
            Tensor::from_array((shape, halves)).map(Tensor::into_dyn)
        }
    }
    .map_err(&unfit)
}

/// Appends a tensor of f32 or f16 as f32.
pub(crate) fn append_f32(value: &DynValue, to: &mut Vec<f32>) -> Result<(), ModelError> {
    let unreadable = run_error("a tensor cannot be read");
    if *value.data_type() == TensorElementType::Float16 {
        let (_, data) = value.try_extract_tensor::<f16>().map_err(unreadable)?;
        to.extend(data.iter().map(|v| v.to_f32()));
    } else {
        let (_, data) = value.try_extract_tensor::<f32>().map_err(unreadable)?;
        to.extend_from_slice(data);
    }
    Ok(())
}
