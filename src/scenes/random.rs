//! The random numbers of a scene: a function of `(seed, index)` alone, for ever.
//!
//! The generator is PCG64 (`rand_pcg`), whose stream is fixed by its specification; the
//! distributions are written out here, because those of `rand` may change between versions.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng as _;

/// A stream of random numbers that belongs to one scene.
#[derive(Debug, Clone)]
pub struct SceneRng(Pcg64);

impl SceneRng {
    /// The stream of scene `index` of the data set with this `seed`.
    pub fn new(seed: u64, index: u64) -> Self {
        let a = mix(seed ^ 0x0076_696c_6132);
        let b = mix(index.wrapping_add(a));
        let state = (u128::from(a) << 64) | u128::from(b);
        let stream = (u128::from(b) << 64) | u128::from(mix(a ^ b));
        Self(Pcg64::new(state, stream))
    }

    /// Uniform in `[0, 1)`, with 24 random bits.
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u64() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in `[low, high)`.
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform over `0..count`; 0 when `count` is 0.
    pub fn below(&mut self, count: usize) -> usize {
        // The high half of a 64 × 64 bit product; the bias is below 2⁻⁵⁰ for the counts used here.
        ((u128::from(self.0.next_u64()) * count as u128) >> 64) as usize
    }

    /// Uniform over `low..=high`.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below((high - low) as usize + 1) as u32
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// One of a list that is not empty, uniformly.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }
}

/// SplitMix64's finaliser: neighbouring seeds and indices give unrelated streams.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_scene_never_changes() {
        let mut rng = SceneRng::new(7, 3);
        let first: Vec<u64> = (0..3).map(|_| rng.bits()).collect();
        let pinned = [
            4_391_301_174_577_209_456,
            1_119_964_645_806_703_041,
            1_215_455_414_983_429_717,
        ];
        assert_eq!(first, pinned);
    }

    #[test]
    fn neighbouring_scenes_have_unrelated_streams() {
        let a = SceneRng::new(7, 3).bits();
        assert!((a ^ SceneRng::new(7, 4).bits()).count_ones() > 10);
        assert!((a ^ SceneRng::new(8, 3).bits()).count_ones() > 10);
    }

    #[test]
    fn distributions_stay_in_their_ranges_and_reach_both_ends() {
        let mut rng = SceneRng::new(1, 1);
        let mut seen = [false; 4];
        for _ in 0..1000 {
            let x = rng.range(-2.0, 3.0);
            assert!((-2.0..3.0).contains(&x));
            let n = rng.between(5, 8);
            assert!((5..=8).contains(&n));
            seen[n as usize - 5] = true;
        }
        assert_eq!(seen, [true; 4]);
    }
}
