//! Connections under any sequence of what their users, their peers and the system do.

use std::fmt::Debug;

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;

#[path = "support/connection_model/mod.rs"]
mod connection_model;

use connection_model::{Case, play};

/// Each part from bytes of its own, so that a failing case can be made smaller part by part.
fn parts<T: for<'a> Arbitrary<'a> + Debug>(most: usize) -> impl Strategy<Value = Vec<T>> {
    let bytes = prop::collection::vec(any::<u8>(), 48);
    let part = bytes.prop_map(|bytes| T::arbitrary(&mut Unstructured::new(&bytes)).unwrap());
    prop::collection::vec(part, 0..most)
}

fn cases() -> impl Strategy<Value = Case> {
    let seed = prop::option::of(any::<u64>());
    (seed, parts(6), parts(120)).prop_map(|(seed, settings, steps)| Case::new(seed, settings, steps))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// Bytes stay in order, and none is lost or repeated without being counted; callbacks come one at a time, the last of
    /// them once; water marks alternate; deadlines see to it that what is closing ends.
    #[test]
    fn any_sequence_keeps_the_promises_of_a_stream(case in cases()) {
        play(&case, false);
    }

    #[test]
    fn any_sequence_keeps_the_promises_of_packets(case in cases()) {
        play(&case, true);
    }
}
