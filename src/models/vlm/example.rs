//! The question that a model must be able to answer: the self-check.

use std::sync::Arc;

use vila2_actors::image::Image;

/// The picture of the self-check: a light disc on a dark ground, no level at either end.
pub fn picture() -> Arc<Image> {
    const SIDE: u32 = 64;
    let inside = |n: u32| (n as i32 - SIDE as i32 / 2).pow(2);
    let pixels: Vec<u8> = (0..SIDE * SIDE)
        .flat_map(|at| {
            let disc = inside(at % SIDE) + inside(at / SIDE) < 400;
            if disc { [200, 180, 60] } else { [40, 60, 90] }
        })
        .collect();
    Image::new(SIDE, SIDE, pixels.into(), (SIDE, SIDE))
}
