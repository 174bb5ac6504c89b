//! Sessions under any sequence of what they, their filters, their peers and the manager do.

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;

#[path = "support/session_model/mod.rs"]
mod session_model;

use session_model::{Case, Step, play};

/// Each step from bytes of its own, so that a failing case can be made smaller step by step.
fn cases() -> impl Strategy<Value = Case> {
    let bytes = prop::collection::vec(any::<u8>(), 16);
    let step = bytes.prop_map(|bytes| Step::arbitrary(&mut Unstructured::new(&bytes)).unwrap());
    let steps = prop::collection::vec(step, 0..150);
    (prop::option::of(any::<u64>()), any::<bool>(), steps)
        .prop_map(|(seed, is_tight, steps)| Case::new(seed, is_tight, steps))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Messages come in order, and none while it is paused or closing; what is written arrives in order, and each write is told
    /// as written or as unwritten; `on_open` comes first and `on_close` last, once; keys and figures are what they ought to be.
    #[test]
    fn any_sequence_keeps_the_promises_of_a_session(case in cases()) {
        play(&case);
    }
}
