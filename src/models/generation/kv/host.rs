//! Caches in memory of the processor, where rows are copied as slices.

use half::f16;
use ort::{
    memory::Allocator,
    value::{DynTensor, DynValue, PrimitiveTensorElementType},
};
use vila2_actors::error::ModelError;

use super::{Element, Memory, RowOf, run_error, shape_of};

/// Memory of the processor, as a session allocates it.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a>(pub &'a Allocator);

impl Memory for Host<'_> {
    fn tensor(&self, element: Element, shape: [usize; 4]) -> Result<DynValue, ModelError> {
        DynTensor::new(self.0, element.ort(), shape)
            .map(ort::value::Value::into_dyn)
            .map_err(run_error("the KV cache cannot be allocated"))
    }

    fn copy_row(
        &self,
        target: &mut DynValue,
        slot: usize,
        source: &DynValue,
        row: &RowOf<'_>,
    ) -> Result<(), ModelError> {
        match row.cache.element {
            Element::F32 => copy_row_of::<f32>(target, slot, source, row),
            Element::F16 => copy_row_of::<f16>(target, slot, source, row),
        }
    }
}

fn copy_row_of<T: PrimitiveTensorElementType + Copy + Default>(
    target: &mut DynValue,
    slot: usize,
    source: &DynValue,
    row: &RowOf<'_>,
) -> Result<(), ModelError> {
    let (rows, heads, target_length, dim) = shape_of(target)?;
    let (source_rows, source_heads, source_length, source_dim) = shape_of(source)?;
    if slot >= rows
        || row.row >= source_rows
        || (heads, dim) != (source_heads, source_dim)
        || row.length > target_length.min(source_length)
    {
        return Err(ModelError::Run(format!(
            "row {} of a KV cache {:?} with {} positions does not fit row {slot} of {:?}",
            row.row,
            &source.shape()[..],
            row.length,
            &target.shape()[..]
        )));
    }
    let unreadable = run_error("the KV cache cannot be read");
    let (_, from) = source.try_extract_tensor::<T>().map_err(&unreadable)?;
    let (_, to) = target.try_extract_tensor_mut::<T>().map_err(&unreadable)?;
    let layout = row.cache.layout;
    let taken = layout.range(row.length, source_length);
    let given = layout.range(row.length, target_length);
    for head in 0..heads {
        let start = (row.row * heads + head) * source_length;
        let from = &from[(start + taken.start) * dim..(start + taken.end) * dim];
        let start = (slot * heads + head) * target_length * dim;
        let to = &mut to[start..start + target_length * dim];
        // A masked position still takes part as zero times its value, and NaN times zero is NaN:
        // nothing of the row that was here before may stay.
        to[..given.start * dim].fill(T::default());
        to[given.end * dim..].fill(T::default());
        to[given.start * dim..given.end * dim].copy_from_slice(from);
    }
    Ok(())
}
