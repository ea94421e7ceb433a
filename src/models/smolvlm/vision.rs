//! The vision encoder session: tiles in, image features out.

use half::f16;
use ort::{
    session::Session,
    value::TensorElementType,
    value::{DynValue, Tensor, ValueType},
};
use vila2_actors::error::ModelError;

use super::{Tiles, features::Features};
use crate::models::{
    generation::{embed::append_f32, finite, run_error},
    hub::{Fault, Graph},
};

/// A vision encoder graph with its session.
#[derive(Debug)]
pub(super) struct VisionEncoder {
    session: Session,
    sizes: Sizes,
    half: bool,
    mask: bool,
    /// Which output has the features.
    output: usize,
}

/// What is known of the encoder's tensors before it runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Side of a tile, pixels.
    pub(super) tile: usize,
    /// Width of a feature: that of the decoder's embeddings, which features stand among.
    pub(super) hidden: usize,
    /// Most tiles of one run: bounds its memory.
    pub(super) most: usize,
}

impl VisionEncoder {
    /// Looks over the inputs and outputs of the graph.
    pub(super) fn new(session: Session, graph: &Graph, sizes: Sizes) -> Result<Self, Vec<Fault>> {
        let (file, tile) = (graph.file(), sizes.tile);
        let mut faults = Vec::new();
        let mut fault = |what: String| faults.push(Fault::new(file.clone(), what));
        let (mut half, mut pixels, mut mask) = (false, false, false);
        for input in session.inputs() {
            let ValueType::Tensor { ty, shape, .. } = input.dtype() else {
                fault(format!("input `{}` is no tensor", input.name()));
                continue;
            };
            match (input.name(), ty) {
                ("pixel_values", TensorElementType::Float32 | TensorElementType::Float16) => {
                    pixels = true;
                    half = *ty == TensorElementType::Float16;
                    let sides = shape.get(3..).unwrap_or_default();
                    let fits = |side: &i64| *side < 0 || *side as usize == tile;
                    if shape.len() != 5 || !sides.iter().all(fits) {
                        fault(format!(
                            "`pixel_values` is {:?}; wanted [images, tiles, 3, {tile}, {tile}]",
                            &shape[..]
                        ));
                    }
                }
                ("pixel_attention_mask", TensorElementType::Bool) => mask = true,
                (name, ty) => fault(format!("input `{name}` of type {ty:?} is not known here")),
            }
        }
        if !pixels {
            fault("no input `pixel_values`, f32 or f16".to_owned());
        }
        let outputs = session.outputs();
        let named = outputs.iter().position(|o| o.name() == "image_features");
        let output = named.or((outputs.len() == 1).then_some(0));
        let features = output.and_then(|at| outputs.get(at));
        match features.and_then(|output| output.dtype().tensor_shape()) {
            Some(shape) if matches!(shape.len(), 2 | 3) => {
                let (width, wanted) = (shape[shape.len() - 1], sizes.hidden);
                if width >= 0 && width as usize != wanted {
                    fault(format!(
                        "its features are {width} wide; wanted {wanted}, as the decoder's \
                         `inputs_embeds` are: the graphs are of different models"
                    ));
                }
            }
            found => {
                let found = found.map_or_else(
                    || format!("{} outputs", outputs.len()),
                    |shape| format!("an output {:?}", &shape[..]),
                );
                fault(format!(
                    "it has {found}; wanted one, `image_features`, [tiles, tokens, hidden] or \
                     [tiles × tokens, hidden]"
                ));
            }
        }
        if faults.is_empty() {
            Ok(Self {
                session,
                sizes,
                half,
                mask,
                output: output.unwrap_or_default(),
            })
        } else {
            Err(faults)
        }
    }

    /// Width of a feature.
    pub(super) fn hidden(&self) -> usize {
        self.sizes.hidden
    }

    /// The features of several pictures, in order. Tiles of all of them go through the graph
    /// together, each as a picture of its own: no padding. A picture whose features are no numbers
    /// fails alone.
    #[allow(clippy::type_complexity)]
    pub(super) fn run(
        &mut self,
        pictures: &[Tiles],
    ) -> Result<Vec<Result<Features, ModelError>>, ModelError> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        let numbers = 3 * self.sizes.tile * self.sizes.tile;
        let count: usize = pictures.iter().map(|p| p.count).sum();
        let mut features = Vec::new();
        let mut pixels = Vec::with_capacity(count.min(self.sizes.most) * numbers);
        let mut tiles = pictures
            .iter()
            .flat_map(|p| p.pixels.chunks_exact(numbers))
            .peekable();
        while let Some(tile) = tiles.next() {
            pixels.extend_from_slice(tile);
            if pixels.len() == self.sizes.most * numbers || tiles.peek().is_none() {
                self.run_tiles(std::mem::take(&mut pixels), &mut features)?;
            }
        }
        if count == 0 || features.len() % (count * self.sizes.hidden) != 0 {
            return Err(ModelError::Run(format!(
                "the vision encoder gave {} numbers for {count} tiles",
                features.len()
            )));
        }
        let per_tile = features.len() / count;
        let mut rest = features.as_slice();
        Ok(pictures
            .iter()
            .map(|picture| {
                let (own, others) = rest.split_at(picture.count * per_tile);
                rest = others;
                if finite(own) {
                    Ok(Features(own.to_vec()))
                } else {
                    Err(ModelError::Run(
                        "the vision encoder gave features that are no numbers (NaN or infinite) \
                         for the picture"
                            .to_owned(),
                    ))
                }
            })
            .collect())
    }

    fn run_tiles(&mut self, pixels: Vec<f32>, to: &mut Vec<f32>) -> Result<(), ModelError> {
        let side = self.sizes.tile;
        let count = pixels.len() / (3 * side * side);
        let unfit = run_error("an input of the vision encoder");
        let shape = [count, 1, 3, side, side];
        let pixels: DynValue = if self.half {
            let halves: Vec<f16> = pixels.into_iter().map(f16::from_f32).collect();
            Tensor::from_array((shape, halves))
                .map_err(&unfit)?
                .into_dyn()
        } else {
            Tensor::from_array((shape, pixels))
                .map_err(&unfit)?
                .into_dyn()
        };
        let mut inputs = vec![("pixel_values", pixels)];
        if self.mask {
            let mask = vec![true; count * side * side];
            let mask = Tensor::from_array(([count, 1, side, side], mask)).map_err(&unfit)?;
            inputs.push(("pixel_attention_mask", mask.into_dyn()));
        }
        let outputs = self
            .session
            .run(inputs)
            .map_err(run_error("the vision encoder failed"))?;
        let features = &outputs[self.output];
        let (width, hidden) = (features.shape().last().copied(), self.sizes.hidden);
        if width != Some(hidden as i64) {
            return Err(ModelError::Run(format!(
                "the vision encoder's features are {:?} and the decoder's embeddings {hidden} wide: \
                 the graphs are of different models",
                &features.shape()[..]
            )));
        }
        append_f32(features, to)
    }
}
