//! The KV cache of a batch: one key and one value tensor per layer, `[rows, heads, length, dim]`.
//!
//! The tensors are ONNX Runtime's own values. What a step gives out (`present.*`) goes back in as
//! `past_key_values.*` without a copy; the host touches them only when rows join or leave. Where a
//! row shorter than the cache stands in it, its [`Layout`] says; what lies beside it is masked, and
//! may be anything finite.

use half::f16;
use ort::{
    memory::Allocator,
    value::{DynTensor, DynValue},
    value::{PrimitiveTensorElementType, TensorElementType},
};
use vila2_actors::error::ModelError;

use super::{layout::Layout, run_error};

/// Element type of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// f32
    F32,
    /// f16
    F16,
}

impl Element {
    /// The element type, where a cache may have it.
    #[must_use]
    pub fn of(element: TensorElementType) -> Option<Self> {
        match element {
            TensorElementType::Float32 => Some(Self::F32),
            TensorElementType::Float16 => Some(Self::F16),
            _ => None,
        }
    }

    fn ort(self) -> TensorElementType {
        match self {
            Self::F32 => TensorElementType::Float32,
            Self::F16 => TensorElementType::Float16,
        }
    }
}

/// One row of a cache: its own `length` positions.
#[derive(Debug, Clone, Copy)]
pub struct RowOf<'a> {
    /// Where it stands.
    pub cache: &'a Cache,
    /// Which row.
    pub row: usize,
    /// How many positions of it are valid.
    pub length: usize,
}

/// The caches of every layer for a batch of rows.
#[derive(Debug)]
pub struct Cache {
    /// Key and value of each layer, in the order of the graph's `past_key_values.*` inputs.
    pub(super) values: Vec<DynValue>,
    element: Element,
    layout: Layout,
    rows: usize,
    length: usize,
}

impl Cache {
    /// Takes over what a step gave out.
    pub(super) fn from_present(
        values: Vec<DynValue>,
        (element, layout): (Element, Layout),
        rows: usize,
        length: usize,
    ) -> Self {
        Self {
            values,
            element,
            layout,
            rows,
            length,
        }
    }

    /// A cache of length 0: what the first step is fed. `shapes` are (heads, dim) per tensor.
    pub(super) fn empty(
        allocator: &Allocator,
        (element, layout): (Element, Layout),
        rows: usize,
        shapes: &[(usize, usize)],
    ) -> Result<Self, ModelError> {
        let values = shapes
            .iter()
            .map(|&(heads, dim)| new_tensor(allocator, element, [rows, heads, 0, dim]))
            .collect::<Result<_, _>>()?;
        Ok(Self::from_present(values, (element, layout), rows, 0))
    }

    /// How many rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many positions, padding included.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Builds a cache of the given rows, in order, as long as the longest of them.
    ///
    /// # Errors
    /// [`ModelError::Run`] where memory cannot be had.
    pub fn gather(allocator: &Allocator, rows: &[RowOf<'_>]) -> Result<Self, ModelError> {
        let (Some(first), Some(length)) = (rows.first(), rows.iter().map(|r| r.length).max())
        else {
            return Err(ModelError::Run("a cache of no rows".to_owned()));
        };
        let (element, layout) = (first.cache.element, first.cache.layout);
        let mut values = Vec::with_capacity(first.cache.values.len());
        for (at, value) in first.cache.values.iter().enumerate() {
            let (_, heads, _, dim) = shape_of(value)?;
            let mut target = new_tensor(allocator, element, [rows.len(), heads, length, dim])?;
            for (slot, row) in rows.iter().enumerate() {
                copy_row(&mut target, slot, &row.cache.values[at], row)?;
            }
            values.push(target);
        }
        let kind = (element, layout);
        Ok(Self::from_present(values, kind, rows.len(), length))
    }

    /// Overwrites row `slot` in place with a row no longer than this cache.
    ///
    /// # Errors
    /// [`ModelError::Run`] where the shapes do not fit.
    pub fn put(&mut self, slot: usize, row: RowOf<'_>) -> Result<(), ModelError> {
        for (target, source) in self.values.iter_mut().zip(&row.cache.values) {
            copy_row(target, slot, source, &row)?;
        }
        Ok(())
    }
}

fn new_tensor(
    allocator: &Allocator,
    element: Element,
    shape: [usize; 4],
) -> Result<DynValue, ModelError> {
    DynTensor::new(allocator, element.ort(), shape)
        .map(ort::value::Value::into_dyn)
        .map_err(run_error("the KV cache cannot be allocated"))
}

fn shape_of(value: &DynValue) -> Result<(usize, usize, usize, usize), ModelError> {
    match value.shape()[..] {
        [rows, heads, length, dim] => {
            Ok((rows as usize, heads as usize, length as usize, dim as usize))
        }
        _ => Err(ModelError::Run(format!(
            "a KV cache of shape {:?}; wanted [rows, heads, length, dim]",
            &value.shape()[..]
        ))),
    }
}

fn copy_row(
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

#[cfg(test)]
mod tests {
    use ort::value::Tensor;

    use super::*;
    use crate::models::Runtime;

    /// Two rows, one head, three positions, two numbers each: 10·row + position.
    fn cache(lengths: usize) -> Cache {
        padded(lengths, Layout::Left)
    }

    fn padded(lengths: usize, layout: Layout) -> Cache {
        Runtime::get(None).expect("`make runtime` has been run");
        let data: Vec<f32> = (0..2 * lengths)
            .flat_map(|i| [(10 * (i / lengths) + i % lengths) as f32; 2])
            .collect();
        let value = Tensor::from_array(([2, 1, lengths, 2], data)).expect("a tensor");
        let kind = (Element::F32, layout);
        Cache::from_present(vec![value.into_dyn()], kind, 2, lengths)
    }

    fn numbers(cache: &Cache) -> Vec<f32> {
        let (_, data) = cache.values[0].try_extract_tensor::<f32>().expect("f32");
        data.chunks(2).map(|pair| pair[0]).collect()
    }

    #[test]
    fn rows_of_several_caches_join_at_the_right_end() {
        let (long, short) = (cache(3), cache(2));
        let rows = [
            RowOf {
                cache: &long,
                row: 1,
                length: 3,
            },
            RowOf {
                cache: &short,
                row: 0,
                length: 1,
            },
        ];
        let joined = Cache::gather(&Allocator::default(), &rows).expect("gathered");
        assert_eq!((joined.rows(), joined.length()), (2, 3));
        assert_eq!(numbers(&joined), [10.0, 11.0, 12.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn rows_that_begin_together_join_at_the_left_end_and_nothing_stays_behind_them() {
        fn row(cache: &Cache, row: usize, length: usize) -> RowOf<'_> {
            RowOf { cache, row, length }
        }
        let (mut long, short) = (padded(3, Layout::Right), padded(2, Layout::Right));
        let rows = [row(&long, 1, 3), row(&short, 0, 1)];
        let joined = Cache::gather(&Allocator::default(), &rows).expect("gathered");
        assert_eq!(numbers(&joined), [10.0, 11.0, 12.0, 0.0, 0.0, 0.0]);
        let (_, data) = long.values[0].try_extract_tensor_mut().expect("f32");
        data.fill(f32::NAN);
        long.put(0, row(&short, 1, 2)).expect("fits");
        assert_eq!(numbers(&long)[..3], [10.0, 11.0, 0.0]);
    }

    #[test]
    fn a_slot_is_overwritten_in_place() {
        let (mut long, short) = (cache(3), cache(2));
        let row = RowOf {
            cache: &short,
            row: 1,
            length: 2,
        };
        long.put(0, row).expect("fits");
        assert_eq!(numbers(&long), [0.0, 10.0, 11.0, 10.0, 11.0, 12.0]);
    }

    #[test]
    fn nothing_of_the_row_before_stays_left_of_a_shorter_one() {
        let (mut long, short) = (cache(3), cache(2));
        let (_, data) = long.values[0].try_extract_tensor_mut().expect("f32");
        data.fill(f32::NAN);
        let row = RowOf {
            cache: &short,
            row: 1,
            length: 1,
        };
        long.put(1, row).expect("fits");
        assert_eq!(numbers(&long)[3..], [0.0, 0.0, 11.0]);
    }

    #[test]
    fn a_row_that_does_not_fit_is_refused() {
        let (long, mut short) = (cache(3), cache(2));
        let row = RowOf {
            cache: &long,
            row: 0,
            length: 3,
        };
        assert!(matches!(short.put(0, row), Err(ModelError::Run(_))));
    }
}
