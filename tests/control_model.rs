//! Control sockets under any packets of several clients.

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;

#[path = "support/control_model/mod.rs"]
mod control_model;

use control_model::{Case, Limits, Step, play};

/// Each step from bytes of its own, so that a failing case can be made smaller step by step.
fn cases() -> impl Strategy<Value = Case> {
    let bytes = prop::collection::vec(any::<u8>(), 200);
    let step = bytes.prop_map(|bytes| Step::arbitrary(&mut Unstructured::new(&bytes)).unwrap());
    let steps = prop::collection::vec(step, 0..100);
    let limits = any::<[u8; 5]>();
    let limits = limits.prop_map(|bytes| Limits::arbitrary(&mut Unstructured::new(&bytes)).unwrap());
    (prop::option::of(any::<u64>()), limits, steps)
        .prop_map(|(seed, limits, steps)| Case::new(seed, limits, steps))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(250) })]

    /// Each packet that is not empty gets one reply, in order but for those that are put off; replies have the one shape, and the id
    /// of their requests; the counts add up; a session ends with the error that is one too many, and not without a reason.
    #[test]
    fn any_packets_are_answered_as_they_should_be(case in cases()) {
        play(&case);
    }
}
