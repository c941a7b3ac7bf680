//! The Reed–Solomon engine for small blocks.

use reed_solomon_simd::engine::tables::get_exp_log;
use reed_solomon_simd::engine::{
    DefaultEngine, Engine, GF_MODULUS, GF_ORDER, GfElement, ShardsRefMut,
};

/// Places that packets and parity of a block take in the code at most: two powers of two, for 128 and 32 of them.
const PLACES_MAX: usize = 256;

/// The crate's engine for this CPU, but for one step of rebuilding. The polynomial whose roots are the places that are
/// lost is evaluated there at all 65,536 points, by two Walsh–Hadamard transforms: 130 µs of the 150 that it takes to rebuild a block of 32.
/// A block has few places, and either few of them are lost or all but few: here it is summed up point by point.
#[derive(Default)]
pub(super) struct BlockEngine(DefaultEngine);

impl Engine for BlockEngine {
    fn fft(
        &self,
        data: &mut ShardsRefMut<'_>,
        pos: usize,
        size: usize,
        truncated_size: usize,
        skew_delta: usize,
    ) {
        self.0.fft(data, pos, size, truncated_size, skew_delta);
    }

    fn ifft(
        &self,
        data: &mut ShardsRefMut<'_>,
        pos: usize,
        size: usize,
        truncated_size: usize,
        skew_delta: usize,
    ) {
        self.0.ifft(data, pos, size, truncated_size, skew_delta);
    }

    fn mul(&self, x: &mut [[u8; 64]], log_m: GfElement) {
        self.0.mul(x, log_m);
    }

    /// In: 1 at each place that is lost, else 0; behind `truncated_size` all are 0. Out: logarithms of the polynomial's
    /// value at each place, without the root that the place itself may be.
    fn eval_poly(erasures: &mut [GfElement; GF_ORDER], truncated_size: usize) {
        let (places, beyond) = erasures.split_at_mut(PLACES_MAX);
        if truncated_size <= PLACES_MAX {
            sum_up(places, 1);
        } else if beyond.iter().all(|&lost| lost == 1) {
            // The logarithms of all elements add up to a multiple of the modulus: those of the lost ones are minus those
            // of the others.
            sum_up(places, 0);
            for value in places {
                *value = GF_MODULUS - *value;
            }
        } else {
            DefaultEngine::eval_poly(erasures, truncated_size);
        }
    }
}

/// Replaces each place by the logarithms, added up, of its differences from the other places that are marked so.
fn sum_up(places: &mut [GfElement], mark: GfElement) {
    let log = &get_exp_log().log;
    let mut marked = [0; PLACES_MAX];
    let mut count = 0;
    for (place, _) in places.iter().enumerate().filter(|(_, is)| **is == mark) {
        marked[count] = place;
        count += 1;
    }
    for (place, value) in places.iter_mut().enumerate() {
        let others = marked[..count].iter().filter(|&&other| other != place);
        let sum: u32 = others.map(|&other| u32::from(log[place ^ other])).sum();
        *value = (sum % u32::from(GF_MODULUS)) as GfElement;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn few_places_are_evaluated_as_all_would_be(
            marks in prop::collection::vec(0..=1_u16, PLACES_MAX),
            used in 1..=PLACES_MAX,
            all_beyond: bool,
        ) {
            let mut erasures = Box::new([GfElement::from(all_beyond); GF_ORDER]);
            erasures[..used].copy_from_slice(&marks[..used]);
            let mut expected = erasures.clone();
            let size = if all_beyond { GF_ORDER } else { used };
            BlockEngine::eval_poly(&mut erasures, size);
            DefaultEngine::eval_poly(&mut expected, size);
            // There are two zeros, 0 and the modulus.
            for place in 0..used {
                prop_assert_eq!(erasures[place] % GF_MODULUS, expected[place] % GF_MODULUS);
            }
        }
    }
}
