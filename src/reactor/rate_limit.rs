//! Logs that a peer or a mistake could flood.

/// Lets one line a second pass.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    last: Option<u64>,
}

impl RateLimit {
    /// Whether a line may be logged at `now`, in nanoseconds of the loop's clock.
    pub(crate) fn allows(&mut self, now: u64) -> bool {
        let allows = self.last.is_none_or(|last| now.saturating_sub(last) >= 1_000_000_000);
        if allows {
            self.last = Some(now);
        }
        allows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_passes() {
        let mut limit = RateLimit::default();
        let passes =
            [0, 1, 999_999_999, 1_000_000_000, 1_999_999_999, 5_000_000_000].map(|now| limit.allows(now));
        assert_eq!(passes, [true, false, false, true, false, true]);
    }
}
