//! The vision encoder session: tiles in, image features out.

use ort::{
    session::Session,
    value::TensorElementType,
    value::{Tensor, ValueType},
};
use vila2_actors::error::ModelError;

use super::{Tiles, features::Features};
use crate::models::{
    generation::{
        finite,
        kv::Element,
        run_error,
        tensors::{append_f32, floats},
    },
    hub::{Fault, Graph},
};

/// A vision encoder graph with its session.
#[derive(Debug)]
pub(crate) struct VisionEncoder {
    session: Session,
    sizes: Sizes,
    element: Element,
    mask: bool,
    /// Which output has the features.
    output: usize,
}

/// What is known of the encoder's tensors before it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Side of a tile, pixels.
    pub(crate) tile: usize,
    /// Width of a feature: that of the decoder's embeddings, which features stand among.
    pub(crate) hidden: usize,
    /// Most tiles of one run: bounds its memory.
    pub(crate) most: usize,
    /// Whether a picture may be several tiles: `pixel_values` has a side for them then.
    pub(crate) several: bool,
}

impl VisionEncoder {
    /// Looks over the inputs and outputs of the graph.
    pub(crate) fn new(session: Session, graph: &Graph, sizes: Sizes) -> Result<Self, Vec<Fault>> {
        let (file, tile) = (graph.file(), sizes.tile);
        let mut faults = Vec::new();
        let mut fault = |what: String| faults.push(Fault::new(file.clone(), what));
        let (mut element, mut pixels, mut mask) = (None, false, false);
        for input in session.inputs() {
            let ValueType::Tensor { ty, shape, .. } = input.dtype() else {
                fault(format!("input `{}` is no tensor", input.name()));
                continue;
            };
            match (input.name(), ty) {
                ("pixel_values", TensorElementType::Float32 | TensorElementType::Float16) => {
                    pixels = true;
                    element = Element::of(*ty);
                    let (rank, words) = match sizes.several {
                        true => (5, "images, tiles"),
                        false => (4, "images"),
                    };
                    let sides = shape.get(rank - 2..).unwrap_or_default();
                    let fits = |side: &i64| *side < 0 || *side as usize == tile;
                    if shape.len() != rank || !sides.iter().all(fits) {
                        fault(format!(
                            "`pixel_values` is {:?}; wanted [{words}, 3, {tile}, {tile}]",
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
        if let (Some(element), true) = (element, faults.is_empty()) {
            Ok(Self {
                session,
                sizes,
                element,
                mask,
                output: output.unwrap_or_default(),
            })
        } else {
            Err(faults)
        }
    }

    /// Width of a feature.
    pub(crate) fn hidden(&self) -> usize {
        self.sizes.hidden
    }

    /// The features of one picture.
    pub(crate) fn run_one(&mut self, picture: Tiles) -> Result<Features, ModelError> {
        let features = self.run(&[picture])?.pop();
        features.unwrap_or_else(|| {
            let nothing = "the vision encoder gave nothing".to_owned();
            Err(ModelError::Run(nothing))
        })
    }

    /// The features of several pictures, in order. Tiles of all of them go through the graph
    /// together, each as a picture of its own: no padding. A picture whose features are no numbers
    /// fails alone.
    #[allow(clippy::type_complexity)]
    pub(crate) fn run(
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
        let shape = match self.sizes.several {
            true => vec![count, 1, 3, side, side],
            false => vec![count, 3, side, side],
        };
        let pixels = floats(
            "an input of the vision encoder",
            self.element,
            &shape,
            pixels,
        )?;
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
