//! What stands behind the pixels that are wholly or partly clear.

/// What clear pixels show; `decode.background`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Background {
    /// White, unless what is not clear is bright (its mean luma, weighted by alpha, exceeds 160 of
    /// 255, Rec. 601): then black. A black logo and a white logo are both seen.
    #[default]
    Contrast,
    /// White.
    White,
    /// Alpha is ignored: the stored colours show, as to a processor that drops alpha.
    Stored,
}

/// The mean luma from which on the background is black.
const BRIGHT: u64 = 160;
const WHITE: u8 = 255;
const BLACK: u8 = 0;

/// RGB and alpha of one pixel.
pub(super) type Pixel = ([u8; 3], u8);

/// Luma (thousandths) and alpha of a picture, summed over its pixels.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weight {
    luma: u64,
    alpha: u64,
}

impl Weight {
    /// Adds `count` pixels; `premultiplied`: their colour holds their alpha already.
    pub(super) fn add(&mut self, (rgb, alpha): Pixel, premultiplied: bool, count: u64) {
        let [r, g, b] = rgb.map(u64::from);
        let weight = if premultiplied { 255 } else { u64::from(alpha) };
        self.luma += (299 * r + 587 * g + 114 * b) * weight * count;
        self.alpha += u64::from(alpha) * count;
    }
}

impl Background {
    /// The grey behind a picture of this weight; `None` where alpha is ignored.
    pub(super) fn behind(self, weigh: impl FnOnce() -> Weight) -> Option<u8> {
        match self {
            Self::Stored => None,
            Self::White => Some(WHITE),
            Self::Contrast => {
                let Weight { luma, alpha } = weigh();
                Some(if luma > BRIGHT * 1000 * alpha {
                    BLACK
                } else {
                    WHITE
                })
            }
        }
    }
}

/// The pixel in front of a grey.
pub(super) fn over((rgb, alpha): Pixel, premultiplied: bool, behind: u8) -> [u8; 3] {
    let (alpha, behind) = (u32::from(alpha), u32::from(behind));
    rgb.map(|colour| {
        let weight = if premultiplied { 255 } else { alpha };
        let sum = u32::from(colour) * weight + behind * (255 - alpha);
        ((sum + 127) / 255).min(255) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(pixels: &[Pixel]) -> Option<u8> {
        Background::Contrast.behind(|| {
            let mut weight = Weight::default();
            for pixel in pixels {
                weight.add(*pixel, false, 1);
            }
            weight
        })
    }

    #[test]
    fn black_stands_behind_what_is_brighter_than_160_and_white_behind_the_rest() {
        let clear = ([255; 3], 0);
        assert_eq!(behind(&[clear; 9]), Some(255), "nothing to see");
        assert_eq!(behind(&[([160; 3], 255), clear]), Some(255), "160 exactly");
        assert_eq!(behind(&[([161; 3], 255), clear]), Some(0));
        assert_eq!(behind(&[([161; 3], 1), clear]), Some(0), "however thin");
        // 255 × 2/3 = 170 by alpha; by count alone it would be 127
        assert_eq!(behind(&[([255; 3], 200), ([0; 3], 100)]), Some(0));
        // green is 150, red 76: Rec. 601
        assert_eq!(behind(&[([0, 255, 0], 255)]), Some(255));
        assert_eq!(behind(&[([255, 255, 0], 255)]), Some(0), "yellow is 226");
    }

    #[test]
    fn pixels_are_blended_by_their_alpha() {
        assert_eq!(over(([10, 20, 30], 255), false, 255), [10, 20, 30]);
        assert_eq!(over(([10, 20, 30], 0), false, 255), [255; 3]);
        assert_eq!(over(([0, 255, 100], 128), false, 255), [127, 255, 177]);
        assert_eq!(over(([0, 128, 50], 128), true, 255), [127, 255, 177]);
        assert_eq!(over(([200; 3], 0), true, 255), [255; 3], "more than alpha");
    }
}
