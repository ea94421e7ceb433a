//! The KV cache of a batch: one key and one value tensor per layer, `[rows, heads, length, dim]`.
//!
//! The tensors are ONNX Runtime's own values. What a step gives out (`present.*`) goes back in as
//! `past_key_values.*` without a copy; they are touched only when rows join or leave, by the
//! [`Memory`] in which they lie. Where a row shorter than the cache stands in it, its [`Layout`]
//! says; what lies beside it is masked, and may be anything finite.
//!
//! ```text
//! host   memory of the processor
//! ```

mod host;

use std::fmt;

use ort::value::{DynValue, TensorElementType};
use vila2_actors::error::ModelError;

pub use self::host::Host;
use super::{layout::Layout, run_error};

/// The memory that caches lie in: makes their tensors, and moves rows between them. A device's would
/// stand beside [`Host`].
pub trait Memory: fmt::Debug {
    /// A tensor of this shape, whose content is not defined.
    ///
    /// # Errors
    /// [`ModelError::Run`] where memory cannot be had.
    fn tensor(&self, element: Element, shape: [usize; 4]) -> Result<DynValue, ModelError>;

    /// Copies a row of `source`, one of the tensors of `row.cache`, into row `slot` of `target`.
    /// What lies beside it there becomes finite.
    ///
    /// # Errors
    /// [`ModelError::Run`] where the shapes do not fit.
    fn copy_row(
        &self,
        target: &mut DynValue,
        slot: usize,
        source: &DynValue,
        row: &RowOf<'_>,
    ) -> Result<(), ModelError>;
}

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

    pub(super) fn ort(self) -> TensorElementType {
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
        memory: &dyn Memory,
        (element, layout): (Element, Layout),
        rows: usize,
        shapes: &[(usize, usize)],
    ) -> Result<Self, ModelError> {
        let values = shapes
            .iter()
            .map(|&(heads, dim)| memory.tensor(element, [rows, heads, 0, dim]))
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
    pub fn gather(memory: &dyn Memory, rows: &[RowOf<'_>]) -> Result<Self, ModelError> {
        let (Some(first), Some(length)) = (rows.first(), rows.iter().map(|r| r.length).max())
        else {
            return Err(ModelError::Run("a cache of no rows".to_owned()));
        };
        let (element, layout) = (first.cache.element, first.cache.layout);
        let mut values = Vec::with_capacity(first.cache.values.len());
        for (at, value) in first.cache.values.iter().enumerate() {
            let (_, heads, _, dim) = shape_of(value)?;
            let mut target = memory.tensor(element, [rows.len(), heads, length, dim])?;
            for (slot, row) in rows.iter().enumerate() {
                memory.copy_row(&mut target, slot, &row.cache.values[at], row)?;
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
    pub fn put(
        &mut self,
        memory: &dyn Memory,
        slot: usize,
        row: RowOf<'_>,
    ) -> Result<(), ModelError> {
        for (target, source) in self.values.iter_mut().zip(&row.cache.values) {
            memory.copy_row(target, slot, source, &row)?;
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use ort::{memory::Allocator, value::Tensor};

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
        let joined = Cache::gather(&Host(&Allocator::default()), &rows).expect("gathered");
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
        let joined = Cache::gather(&Host(&Allocator::default()), &rows).expect("gathered");
        assert_eq!(numbers(&joined), [10.0, 11.0, 12.0, 0.0, 0.0, 0.0]);
        let (_, data) = long.values[0].try_extract_tensor_mut().expect("f32");
        data.fill(f32::NAN);
        long.put(&Host(&Allocator::default()), 0, row(&short, 1, 2))
            .expect("fits");
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
        long.put(&Host(&Allocator::default()), 0, row)
            .expect("fits");
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
        long.put(&Host(&Allocator::default()), 1, row)
            .expect("fits");
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
        assert!(matches!(
            short.put(&Host(&Allocator::default()), 0, row),
            Err(ModelError::Run(_))
        ));
    }
}
